// The crystal in three dimensions: spheres cut into wedges by occupancy, open where a site is vacant; bonds; the cell.

import * as THREE from "./vendor/three.module.js";
import { cartesian, edges, slices, supercell } from "./cell.js";
import { clampZoom } from "./orbit.js";

const BALL = 0.38, BOND_A = 0.09, TILT = 0.5;
const WHOLE = [{ element: null, from: 0, to: 1 }];

export class Scene {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.camera = new THREE.OrthographicCamera();
    this.world = new THREE.Scene();
    this.turned = new THREE.Group();
    this.crystalGroup = new THREE.Group();
    this.turned.add(this.crystalGroup);
    const sun = new THREE.DirectionalLight(0xffffff, 2.1);
    sun.position.set(-0.5, 0.8, 1);
    this.world.add(this.turned, sun, new THREE.AmbientLight(0xffffff, 1.5));
    this.view = { zoom: 1, x: 0, y: 0 };
    this.afterRender = () => {};
  }

  /** Draw `repeat` cells of a crystal; `look.colorOf(site, element)` gives RGB, `look.flat` the vision model's way. */
  show(crystal, repeat, look) {
    this.clear();
    this.crystal = crystal;
    this.repeat = repeat;
    const { atoms, bonds } = supercell(crystal, repeat);
    this.addBalls(crystal, atoms, look);
    this.addBonds(bonds, look);
    this.addCell(crystal.lattice_A, repeat, look);
    const middle = cartesian(crystal.lattice_A, repeat.map((n) => n / 2));
    this.crystalGroup.position.set(...middle.map((x) => -x));
    this.extent = Math.max(...atoms.map((atom) => radiusAbout(atom.position, middle))) + 1;
    this.render();
  }

  addBalls(crystal, atoms, look) {
    const kinds = new Map();
    for (const atom of atoms) {
      const site = crystal.sites[atom.site];
      for (const slice of look.flat ? WHOLE : slices(site.occupancies)) {
        const color = look.colorOf(atom.site, slice.element).join(",");
        const name = `${slice.from.toFixed(4)}|${slice.to.toFixed(4)}|${color}`;
        if (!kinds.has(name)) kinds.set(name, { slice, color, atoms: [] });
        kinds.get(name).atoms.push({ ...atom, radius: BALL * site.radius_A });
      }
    }
    this.facing = [];
    for (const kind of kinds.values()) this.addKind(kind, look);
  }

  addKind({ slice, color, atoms }, look) {
    const material = this.material(color, look.flat);
    for (const geometry of wedge(slice)) {
      const mesh = new THREE.InstancedMesh(geometry, material, atoms.length);
      mesh.userData.atoms = atoms;
      place(mesh, new THREE.Matrix4());
      if (slice.to - slice.from < 1) this.facing.push(mesh);
      this.crystalGroup.add(mesh);
    }
  }

  material(color, flat) {
    const value = new THREE.Color(`rgb(${color})`);
    return flat ? new THREE.MeshBasicMaterial({ color: value })
      : new THREE.MeshPhongMaterial({ color: value, shininess: 70, specular: 0x303030, side: THREE.DoubleSide });
  }

  addBonds(bonds, look) {
    if (!bonds.length) return;
    const geometry = new THREE.CylinderGeometry(BOND_A, BOND_A, 1, 12, 1, true);
    const mesh = new THREE.InstancedMesh(geometry, this.material(look.bond, look.flat), bonds.length);
    const up = new THREE.Vector3(0, 1, 0), turn = new THREE.Quaternion(), matrix = new THREE.Matrix4();
    bonds.forEach(({ from, to }, n) => {
      const a = new THREE.Vector3(...from.position), b = new THREE.Vector3(...to.position);
      const along = b.clone().sub(a);
      turn.setFromUnitVectors(up, along.clone().normalize());
      mesh.setMatrixAt(n, matrix.compose(a.add(b).multiplyScalar(0.5), turn, new THREE.Vector3(1, along.length(), 1)));
    });
    this.crystalGroup.add(mesh);
  }

  addCell(lattice, repeat, look) {
    const thin = repeat.some((n) => n > 1) ? edges(lattice, [1, 1, 1]) : [];
    for (const [lines, opacity] of [[edges(lattice, repeat), 0.9], [thin, 0.45]]) {
      const points = lines.flat().map((point) => new THREE.Vector3(...point));
      const material = new THREE.LineBasicMaterial({ color: new THREE.Color(`rgb(${look.line})`), transparent: true, opacity });
      this.crystalGroup.add(new THREE.LineSegments(new THREE.BufferGeometry().setFromPoints(points), material));
    }
  }

  clear() {
    for (const child of [...this.crystalGroup.children]) {
      child.geometry.dispose();
      child.material.dispose();
      child.dispose?.();
      this.crystalGroup.remove(child);
    }
  }

  /** The crystal as it stands on paper: c up, seen a little from above and from the side. */
  reset() {
    this.view = { zoom: 1, x: 0, y: 0 };
    this.along(0);
    this.turn(-TILT, TILT * 0.55, 0);
  }

  /** Look along a, b or c, as the images' views do: towards the viewer, with c up (b for the view along c). */
  along(axis) {
    const rows = this.crystal.lattice_A.map((row) => new THREE.Vector3(...row));
    const z = rows[axis].clone().normalize(), above = rows[axis === 2 ? 1 : 2];
    const y = above.clone().addScaledVector(z, -above.dot(z)).normalize();
    const x = y.clone().cross(z);
    const matrix = new THREE.Matrix4().makeBasis(x, y, z).transpose();
    this.turned.quaternion.setFromRotationMatrix(matrix);
    this.render();
  }

  turn(dx, dy, dz) {
    const step = new THREE.Quaternion().setFromEuler(new THREE.Euler(dy, dx, dz));
    this.turned.quaternion.premultiply(step).normalize();
    this.render();
  }

  zoom(factor) {
    this.view.zoom = clampZoom(this.view.zoom * factor);
    this.render();
  }

  shift(dx, dy) {
    const perPixel = 2 * this.half().y / this.renderer.domElement.clientHeight;
    this.view.x -= dx * perPixel;
    this.view.y += dy * perPixel;
    this.render();
  }

  half() {
    const canvas = this.renderer.domElement;
    const aspect = canvas.clientWidth / Math.max(canvas.clientHeight, 1);
    const y = (this.extent / this.view.zoom) / Math.min(aspect, 1);
    return { x: y * aspect, y };
  }

  resize() {
    const canvas = this.renderer.domElement;
    this.renderer.setSize(canvas.clientWidth, canvas.clientHeight, false);
    if (this.crystal) this.render();
  }

  render() {
    const { x, y } = this.half();
    Object.assign(this.camera, { left: this.view.x - x, right: this.view.x + x, top: this.view.y + y, bottom: this.view.y - y,
      near: -4 * this.extent, far: 4 * this.extent });
    this.camera.updateProjectionMatrix();
    const back = new THREE.Matrix4().makeRotationFromQuaternion(this.turned.quaternion.clone().invert());
    this.facing.forEach((mesh) => place(mesh, back));
    this.renderer.render(this.world, this.camera);
    this.afterRender();
  }

  /** Where the ends of a, b and c are on the canvas, in CSS pixels. */
  edgeEnds() {
    const canvas = this.renderer.domElement;
    return this.crystal.lattice_A.map((row, axis) => {
      const point = new THREE.Vector3(...row).multiplyScalar(this.repeat[axis] * (1 + 0.7 / Math.hypot(...row) / this.repeat[axis]));
      point.add(this.crystalGroup.position).applyQuaternion(this.turned.quaternion).project(this.camera);
      return [(point.x + 1) / 2 * canvas.clientWidth, (1 - point.y) / 2 * canvas.clientHeight];
    });
  }
}

function radiusAbout(position, middle) {
  return Math.hypot(...position.map((x, k) => x - middle[k]));
}

/** A wedge of the unit sphere about z, from the top anticlockwise, with its two cut faces where it is not whole. */
function wedge({ from, to }) {
  const start = 2 * Math.PI * from, length = 2 * Math.PI * (to - from);
  const ball = new THREE.SphereGeometry(1, Math.max(3, Math.ceil(40 * (to - from))), 20, start, length);
  const faces = to - from < 1 ? [start, start + length].map(halfDisc) : [];
  return [ball, ...faces].map((geometry) => geometry.rotateX(Math.PI / 2).rotateZ(-Math.PI / 2));
}

/** The half disc in which a sphere is cut at an angle `phi` about y; three's spheres begin at -x and turn towards z. */
function halfDisc(phi) {
  return new THREE.CircleGeometry(1, 24, Math.PI / 2, Math.PI).rotateY(phi);
}

/** Put each instance at its atom, turned by a rotation matrix and scaled to its radius. */
function place(mesh, rotation) {
  const matrix = new THREE.Matrix4();
  mesh.userData.atoms.forEach((atom, n) => {
    matrix.copy(rotation).scale(new THREE.Vector3(atom.radius, atom.radius, atom.radius)).setPosition(...atom.position);
    mesh.setMatrixAt(n, matrix);
  });
  mesh.instanceMatrix.needsUpdate = true;
}
