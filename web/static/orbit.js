// Turn, zoom and shift an object by mouse, touch (one finger turns, two zoom and shift) and keyboard.

const TURN = 0.008; // radians a pixel
const KEY_TURN = Math.PI / 24;
const ZOOM = { least: 0.3, most: 8 };

/**
 * @param {HTMLElement} canvas takes the events
 * @param {{ turn(dx, dy, dz), zoom(factor), shift(dx, dy), along(axis), reset() }} scene what is moved
 */
export function orbit(canvas, scene) {
  const fingers = new Map();

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (fingers.size === 1) {
      const dx = now.x - before.x, dy = now.y - before.y;
      if (event.shiftKey || event.buttons === 2) scene.shift(dx, dy);
      else scene.turn(dx * TURN, dy * TURN, 0);
    } else {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      scene.zoom(distance(now, other) / Math.max(distance(before, other), 1));
      scene.shift((now.x - before.x) / 2, (now.y - before.y) / 2);
    }
    fingers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return; // a page that scrolls stays a page that scrolls
    event.preventDefault();
    scene.zoom(Math.exp(-event.deltaY * 0.0015));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const action = keyAction(event, scene);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function keyAction(event, scene) {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const keys = {
    ArrowLeft: () => scene.turn(-KEY_TURN, 0, 0),
    ArrowRight: () => scene.turn(KEY_TURN, 0, 0),
    ArrowUp: () => scene.turn(0, -KEY_TURN, 0),
    ArrowDown: () => scene.turn(0, KEY_TURN, 0),
    ",": () => scene.turn(0, 0, KEY_TURN),
    ".": () => scene.turn(0, 0, -KEY_TURN),
    "+": () => scene.zoom(1.15),
    "=": () => scene.zoom(1.15),
    "-": () => scene.zoom(1 / 1.15),
    a: () => scene.along(0),
    b: () => scene.along(1),
    c: () => scene.along(2),
    0: () => scene.reset(),
  };
  return keys[event.key];
}

export const clampZoom = (zoom) => Math.min(ZOOM.most, Math.max(ZOOM.least, zoom));

function distance(one, other) {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
