"""HTTP only, one file per noun or question: each route asks a domain module and renders its answer."""
