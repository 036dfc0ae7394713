// Which atoms, bonds and edges of a supercell are drawn. Pure geometry, no graphics.

const FACE = 0.002; // fractional: an atom this close to a face is drawn on the opposite one too

/** Cartesian position (Å) of fractional coordinates. */
export function cartesian(lattice, [x, y, z]) {
  return [0, 1, 2].map((k) => x * lattice[0][k] + y * lattice[1][k] + z * lattice[2][k]);
}

/** Cells in which a site at `frac` lies within `repeat` cells, faces included. */
function cellsOf(frac, repeat) {
  const axes = frac.map((x, k) => {
    const cells = [];
    for (let n = -1; n <= repeat[k]; n += 1) if (x + n >= -FACE && x + n <= repeat[k] + FACE) cells.push(n);
    return cells;
  });
  return axes[0].flatMap((a) => axes[1].flatMap((b) => axes[2].map((c) => [a, b, c])));
}

const key = (site, cell) => `${site}:${cell.join(",")}`;

/**
 * Atoms `{ site, position }` and bonds `{ from, to }` (both drawn atoms) of `repeat` cells along a, b, c.
 */
export function supercell(crystal, repeat) {
  const atoms = [], found = new Map();
  crystal.sites.forEach((site, number) => {
    for (const cell of cellsOf(site.frac, repeat)) {
      const frac = site.frac.map((x, k) => x + cell[k]);
      const atom = { site: number, cell, position: cartesian(crystal.lattice_A, frac) };
      found.set(key(number, cell), atom);
      atoms.push(atom);
    }
  });
  return { atoms, bonds: bondsBetween(crystal.bonds, atoms, found) };
}

function bondsBetween(listed, atoms, found) {
  const from = new Map();
  for (const [i, j, ...image] of listed) {
    if (!from.has(i)) from.set(i, []);
    from.get(i).push([j, image]);
  }
  return atoms.flatMap((atom) => (from.get(atom.site) || []).flatMap(([site, image]) => {
    const to = found.get(key(site, atom.cell.map((n, k) => n + image[k])));
    return to ? [{ from: atom, to }] : [];
  }));
}

/** The 12 edges of a box of `repeat` cells, as pairs of points. */
export function edges(lattice, repeat) {
  const corner = (bits) => cartesian(lattice, bits.map((bit, k) => bit * repeat[k]));
  const lines = [];
  for (let axis = 0; axis < 3; axis += 1) {
    for (let side = 0; side < 4; side += 1) {
      const start = [0, 0, 0], others = [0, 1, 2].filter((k) => k !== axis);
      start[others[0]] = side & 1;
      start[others[1]] = side >> 1;
      const end = [...start];
      end[axis] = 1;
      lines.push([corner(start), corner(end)]);
    }
  }
  return lines;
}

/** Slices `{ element, from, to }` of a site's sphere, as fractions of the turn; the rest is vacant. */
export function slices(occupancies) {
  let at = 0;
  const sorted = Object.entries(occupancies).sort((one, other) => other[1] - one[1]);
  const found = sorted.map(([element, amount]) => ({ element, from: at, to: (at += amount) }));
  if (at > 0.999) found.at(-1).to = 1;
  return found;
}
