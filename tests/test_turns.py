"""Those who want to write have their turn in the order in which they asked."""

import threading
import time

from app.db import Turn


def test_turns_come_in_the_order_of_asking() -> None:
    turn, order = Turn(), list[int]()
    assert turn.acquire(timeout=0)

    def wait(number: int) -> None:
        assert turn.acquire(timeout=30)
        order.append(number)
        turn.release()

    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(turn._waiting) <= number:
            time.sleep(0.001)
    turn.release()
    for thread in threads:
        thread.join()

    assert order == list(range(20))
    assert turn.acquire(timeout=0)


def test_who_waits_too_long_is_told_and_passed_over() -> None:
    turn = Turn()
    assert turn.acquire(timeout=0)
    assert not turn.acquire(timeout=0.01)
    turn.release()

    assert turn.acquire(timeout=0)


def test_one_at_a_time_however_many_give_up() -> None:
    turn, inside, most = Turn(), list[int](), list[int]()

    def work(number: int) -> None:
        for _ in range(50):
            if turn.acquire(timeout=0.0005):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.0002)
                inside.remove(number)
                turn.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(most) == {1}
    assert turn.acquire(timeout=0)
