// The pictures: which are shown, the divide between two of them, and the two measuring points (under the cursor, and pinned).
const NAMES = { rgb: 'RGB', thermal: 'Thermal', fused: 'Fused' };
const CLICK_PX = 5;

export class Stage {
  constructor(viewer, changed) {
    this.changed = changed;
    this.stage = viewer.querySelector('#stage');
    this.divider = viewer.querySelector('#divider');
    this.viewer = viewer;
    this.panes = Object.fromEntries([...viewer.querySelectorAll('.pane')].map((pane) => [pane.dataset.stream, pane]));
    this.mode = 'swipe';
    this.left = 'rgb';
    this.right = 'fused';
    this.split = 50;
    this.cursor = null; // [x, y] as shares of width and height
    this.pin = null;
    this.readings = { cursor: null, pin: null };
    this.asked = []; // which points the newest wish named, in order
    this.drawn_at = [];
    this.size = [0, 0];
    this.recall();
    this.wire();
    this.lay_out();
  }

  recall() {
    try { Object.assign(this, JSON.parse(localStorage.getItem('aenet-view') || '{}')); } catch { /* nothing kept, or not allowed to */ }
    this.viewer.querySelector('#palette').value = this.palette || 'grey';
  }

  keep() {
    const { mode, left, right, palette } = this;
    try { localStorage.setItem('aenet-view', JSON.stringify({ mode, left, right, palette })); } catch { /* not allowed to */ }
  }

  streams() {
    if (this.mode === 'swipe') return [this.left, this.right];
    return this.mode === 'grid' ? ['rgb', 'thermal', 'fused'] : [this.mode];
  }

  wishes() {
    this.asked = ['cursor', 'pin'].filter((name) => this[name]);
    const wide = this.mode === 'grid' ? 1 / 3 : 1;
    const width = Math.max(160, this.stage.clientWidth * wide * (window.devicePixelRatio || 1));
    return { streams: this.streams(), spots: this.asked.map((name) => this[name]), width };
  }

  wire() {
    for (const side of ['left', 'right']) {
      const select = this.viewer.querySelector(`#${side}`);
      for (const [name, text] of Object.entries(NAMES)) select.add(new Option(text, name));
      select.onchange = () => this.choose(side, select.value);
    }
    const modes = [...this.viewer.querySelectorAll('#modes button')];
    for (const button of modes) button.onclick = () => this.set_mode(button.dataset.mode);
    this.viewer.querySelector('#modes').addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = modes[(modes.findIndex((button) => button.dataset.mode === this.mode) + step + modes.length) % modes.length];
      this.set_mode(next.dataset.mode);
      next.focus();
    });
    this.viewer.querySelector('#palette').onchange = (event) => { this.palette = event.target.value; this.lay_out(); };
    this.viewer.querySelector('#swap').onclick = () => this.swap();
    this.viewer.querySelector('#unpin').onclick = () => this.unpin();
    this.divider.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
      if (!step) return;
      this.divide(this.split + step * (event.shiftKey ? 10 : 2));
      event.preventDefault();
      event.stopPropagation();
    });
    this.stage.addEventListener('keydown', (event) => this.nudge(event));
    this.stage.addEventListener('pointerdown', (event) => this.press(event));
    this.stage.addEventListener('pointermove', (event) => this.move(event));
    this.stage.addEventListener('pointerup', (event) => this.release(event));
    this.stage.addEventListener('pointercancel', () => { this.pressed = null; });
    this.stage.addEventListener('pointerleave', () => this.point('cursor', null));
    new ResizeObserver(() => this.tell_soon()).observe(this.stage);
  }

  // Both sides never show the same.
  choose(side, stream) {
    const other = side === 'left' ? 'right' : 'left';
    if (this[other] === stream) this[other] = this[side];
    this[side] = stream;
    this.lay_out();
  }

  swap() {
    [this.left, this.right] = [this.right, this.left];
    this.lay_out();
  }

  set_mode(mode) {
    this.mode = mode;
    this.lay_out();
  }

  lay_out() {
    this.stage.dataset.mode = this.mode;
    this.viewer.dataset.palette = this.palette || 'grey';
    const shown = this.streams();
    for (const [stream, pane] of Object.entries(this.panes)) {
      pane.classList.toggle('shown', shown.includes(stream));
      pane.classList.toggle('left', this.mode === 'swipe' && stream === this.left);
      pane.classList.toggle('right', this.mode === 'swipe' && stream === this.right);
    }
    for (const button of this.viewer.querySelectorAll('#modes button')) {
      const chosen = button.dataset.mode === this.mode;
      button.setAttribute('aria-checked', chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    this.viewer.querySelector('#sides').hidden = this.mode !== 'swipe';
    this.viewer.querySelector('#looks').hidden = !shown.includes('thermal');
    this.viewer.querySelector('#left').value = this.left;
    this.viewer.querySelector('#right').value = this.right;
    this.divide(this.split);
    this.keep();
    this.changed();
  }

  divide(share) {
    this.split = Math.min(100, Math.max(0, share));
    this.stage.style.setProperty('--split', `${this.split}%`);
    this.divider.setAttribute('aria-valuenow', Math.round(this.split));
  }

  // The pointer: it measures while it hovers, moves the divide while it drags, and pins a point where it clicks.

  place(event) {
    const pane = event.target.closest('.pane') || this.panes[this.streams()[0]];
    const box = (this.mode === 'grid' ? pane : this.stage).getBoundingClientRect();
    const clamp = (value) => Math.min(1, Math.max(0, value));
    return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
  }

  press(event) {
    if (event.button) return;
    this.pressed = { x: event.clientX, y: event.clientY, on_divider: this.divider.contains(event.target), dragging: false };
  }

  move(event) {
    const pressed = this.pressed;
    if (pressed && this.mode === 'swipe') {
      if (!pressed.dragging && Math.abs(event.clientX - pressed.x) > CLICK_PX) {
        pressed.dragging = true;
        this.stage.setPointerCapture(event.pointerId);
      }
      if (pressed.dragging) { this.divide(this.place(event)[0] * 100); return; }
    }
    if (event.pointerType !== 'touch') this.point('cursor', this.divider.contains(event.target) ? null : this.place(event));
  }

  release(event) {
    const pressed = this.pressed;
    this.pressed = null;
    if (pressed && !pressed.dragging && !pressed.on_divider) this.point('pin', this.place(event));
  }

  nudge(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.target !== this.stage || !step) return;
    const from = this.pin || [0.5, 0.5], by = event.shiftKey ? 10 : 1;
    const moved = from.map((value, axis) => value + (step[axis] * by) / (this.size[axis] || 100));
    this.point('pin', moved.map((value) => Math.min(1, Math.max(0, value))));
    event.preventDefault();
  }

  unpin() { this.point('pin', null); }

  point(name, place) {
    if (!place && !this[name]) return;
    this[name] = place;
    if (!place) this.readings[name] = null;
    this.mark();
    this.tell_soon();
  }

  // Not more often than the pictures come.
  tell_soon() {
    if (this.telling) return;
    this.telling = setTimeout(() => { this.telling = null; this.changed(); }, 40);
  }

  told(state) {
    this.viewer.querySelector('#scale').textContent = state.temperature || '';
  }

  grow_old(old) {
    for (const pane of Object.values(this.panes)) pane.classList.toggle('old', old);
  }

  rate() {
    const now = performance.now(), recent = this.drawn_at.filter((time) => now - time < 2000);
    return recent.length > 1 ? ((recent.length - 1) * 1000) / (recent.at(-1) - recent[0]) : 0;
  }

  draw(header, pictures) {
    for (const [stream, picture] of pictures) {
      const canvas = this.panes[stream].querySelector('canvas');
      if (canvas.width !== picture.width || canvas.height !== picture.height) [canvas.width, canvas.height] = [picture.width, picture.height];
      canvas.getContext('2d').drawImage(picture, 0, 0);
      this.panes[stream].dataset.stamp = header.stamp_ns;
      const size = [picture.width, picture.height];
      if (size[0] / size[1] !== this.size[0] / this.size[1]) this.viewer.style.setProperty('--ratio', size[0] / size[1]);
      this.size = size;
      picture.close();
    }
    const came = pictures.map(([stream]) => stream);
    for (const [stream, pane] of Object.entries(this.panes)) {
      const fault = header.faults[stream] || (pictures.length && !came.includes(stream) ? `No ${NAMES[stream]} picture of this instant.` : '');
      if (fault) pane.dataset.fault = fault; else delete pane.dataset.fault;
    }
    if (pictures.length) {
      this.stage.classList.add('alive');
      this.drawn_at = [...this.drawn_at.slice(-120), performance.now()];
    }
    if (header.spots && header.spots.length === this.asked.length) {
      this.asked.forEach((name, index) => { this.readings[name] = header.spots[index]; });
      this.mark();
    }
  }

  mark() {
    const html = ['cursor', 'pin'].filter((name) => this[name]).map((name) => {
      const mark = document.createElement('i');
      mark.className = name + (this[name][0] > 0.8 ? ' flip' : '');
      mark.style.left = `${this[name][0] * 100}%`;
      mark.style.top = `${this[name][1] * 100}%`;
      mark.dataset.text = short(this.readings[name]);
      return mark;
    });
    for (const pane of Object.values(this.panes)) pane.querySelector('.marks').replaceChildren(...html.map((mark) => mark.cloneNode()));
    this.viewer.querySelector('#at-cursor').textContent = this.cursor ? long(this.readings.cursor) : '–';
    this.viewer.querySelector('#at-pin').textContent = this.pin ? long(this.readings.pin) : 'click the picture to set one';
    this.viewer.querySelector('#unpin').hidden = !this.pin;
  }

  // What is on the screen, at the pictures' own size.
  save() {
    const shown = this.streams().map((stream) => this.panes[stream].querySelector('canvas')).filter((canvas) => canvas.width > 0);
    if (!shown.length) return;
    const [width, height] = [shown[0].width, shown[0].height], out = document.createElement('canvas');
    const across = this.mode === 'grid' ? shown.length : 1;
    [out.width, out.height] = [width * across, height];
    const paper = out.getContext('2d');
    if (this.mode === 'swipe' && shown.length === 2) {
      const at = Math.round((width * this.split) / 100);
      paper.drawImage(shown[1], 0, 0, width, height);
      if (at > 0) paper.drawImage(shown[0], 0, 0, (shown[0].width * at) / width, shown[0].height, 0, 0, at, height);
    } else {
      shown.forEach((canvas, index) => paper.drawImage(canvas, width * index, 0, width, height));
    }
    out.toBlob((blob) => {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = `aenet-${this.streams().join('-')}-${new Date().toISOString().replace(/[:.]/g, '-')}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }
}

const short = (reading) => {
  if (!reading || reading.counts === null) return '';
  return reading.celsius === null ? `${Math.round(reading.counts)}` : `${reading.celsius.toFixed(1)} °C`;
};
const long = (reading) => {
  if (!reading) return '…';
  if (reading.counts === null) return 'outside the thermal view';
  const counts = `${Number.isInteger(reading.counts) ? reading.counts : reading.counts.toFixed(2)} counts`;
  return reading.celsius === null ? `${counts}, no temperature` : `${reading.celsius.toFixed(1)} °C (${counts})`;
};
