// The pictures: which are shown, the slider between two of them, and where the pointer measures.
import { Measure } from './measure.js';

const NAMES = { rgb: 'RGB', thermal: 'Thermal', fused: 'Fused' };
const CLICK_PX = 5, OLD_MS = 2500;

export class Stage {
  constructor(viewer, on_change) {
    this.on_change = on_change;
    this.stage = viewer.querySelector('#stage');
    this.divider = viewer.querySelector('#divider');
    this.viewer = viewer;
    this.panes = Object.fromEntries([...viewer.querySelectorAll('.pane')].map((pane) => [pane.dataset.stream, pane]));
    this.mode = 'swipe';
    this.left = 'rgb';
    this.right = 'fused';
    this.split = 50;
    this.measure = new Measure(viewer, this.panes, () => this.request_soon());
    this.draw_times = [];
    this.drawn_ms = {}; // by stream: when its last picture was drawn
    this.live = false;
    this.size = [0, 0];
    this.load_settings();
    this.connect_events();
    this.layout();
  }

  load_settings() {
    try { Object.assign(this, JSON.parse(localStorage.getItem('aenet-view') || '{}')); } catch { /* nothing stored, or no access */ }
  }

  save_settings() {
    const { mode, left, right } = this;
    try { localStorage.setItem('aenet-view', JSON.stringify({ mode, left, right })); } catch { /* no access */ }
  }

  streams() {
    if (this.mode === 'swipe') return [this.left, this.right];
    return this.mode === 'grid' ? ['rgb', 'thermal', 'fused'] : [this.mode];
  }

  request() {
    const wide = this.mode === 'grid' ? 1 / 3 : 1;
    const width = Math.max(160, this.stage.clientWidth * wide * (window.devicePixelRatio || 1));
    return { streams: this.streams(), width, ...this.measure.request() };
  }

  connect_events() {
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
    this.viewer.querySelector('#swap').onclick = () => this.swap();
    this.divider.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
      if (!step) return;
      this.set_split(this.split + step * (event.shiftKey ? 10 : 2));
      event.preventDefault();
      event.stopPropagation();
    });
    this.stage.addEventListener('keydown', (event) => this.move_pin(event));
    this.stage.addEventListener('pointerdown', (event) => this.press(event));
    this.stage.addEventListener('pointermove', (event) => this.move(event));
    this.stage.addEventListener('pointerup', (event) => this.release(event));
    this.stage.addEventListener('pointercancel', () => { this.pressed = null; });
    this.stage.addEventListener('pointerleave', () => this.measure.set_point('cursor', null));
    setInterval(() => this.show_ages(), 500);
    new ResizeObserver(() => this.request_soon()).observe(this.stage);
  }

  // The two sides never show the same stream.
  choose(side, stream) {
    const other = side === 'left' ? 'right' : 'left';
    if (this[other] === stream) this[other] = this[side];
    this[side] = stream;
    this.layout();
  }

  swap() {
    [this.left, this.right] = [this.right, this.left];
    this.layout();
  }

  set_mode(mode) {
    this.mode = mode;
    this.layout();
  }

  layout() {
    this.stage.dataset.mode = this.mode;
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
    this.viewer.querySelector('#left').value = this.left;
    this.viewer.querySelector('#right').value = this.right;
    this.set_split(this.split);
    this.save_settings();
    this.on_change();
  }

  set_split(percent) {
    this.split = Math.min(100, Math.max(0, percent));
    this.stage.style.setProperty('--split', `${this.split}%`);
    this.divider.setAttribute('aria-valuenow', Math.round(this.split));
  }

  // The pointer: hovering measures, dragging moves the slider or draws a box, a click sets the measuring point.

  // In fractions of the picture; null over a picture that has other pixels than the thermal values.
  position_of(event) {
    const shown = this.streams();
    const left = event.clientX - this.stage.getBoundingClientRect().left < (this.stage.clientWidth * this.split) / 100;
    const stream = this.mode === 'swipe' ? shown[left ? 0 : 1] : (event.target.closest('.pane') || this.panes[shown[0]]).dataset.stream;
    return this.measure.fits(stream) ? this.fraction_of(event) : null;
  }

  fraction_of(event) {
    const pane = event.target.closest('.pane') || this.panes[this.streams()[0]];
    const box = (this.mode === 'grid' ? pane : this.stage).getBoundingClientRect();
    const clamp = (value) => Math.min(1, Math.max(0, value));
    return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
  }

  press(event) {
    if (event.button) return;
    const on_divider = this.divider.contains(event.target), mouse = event.pointerType === 'mouse';
    const boxes = !on_divider && (this.measure.drawing || (mouse && (event.shiftKey || this.mode !== 'swipe')));
    this.pressed = { x: event.clientX, y: event.clientY, on_divider, dragging: false, from: boxes ? this.position_of(event) : null, boxes };
  }

  move(event) {
    const pressed = this.pressed;
    if (pressed && (this.mode === 'swipe' || pressed.from)) {
      if (!pressed.dragging && Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > CLICK_PX) {
        pressed.dragging = pressed.from || !pressed.boxes;
        if (pressed.dragging) event.target.setPointerCapture(event.pointerId);
      }
      if (pressed.dragging && pressed.from) this.measure.set_box([...pressed.from, ...this.fraction_of(event)]);
      else if (pressed.dragging) this.set_split(this.fraction_of(event)[0] * 100);
      if (pressed.dragging) return;
    }
    if (event.pointerType !== 'touch') this.measure.set_point('cursor', this.divider.contains(event.target) ? null : this.position_of(event));
  }

  release(event) {
    const pressed = this.pressed;
    this.pressed = null;
    if (pressed && pressed.dragging && pressed.from) this.measure.set_drawing(false);
    else if (pressed && !pressed.dragging && !pressed.on_divider) this.measure.set_point('pin', this.position_of(event));
  }

  move_pin(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.target !== this.stage || !step) return;
    const from = this.measure.pin || [0.5, 0.5], by = event.shiftKey ? 10 : 1;
    const moved = from.map((value, axis) => value + (step[axis] * by) / (this.size[axis] || 100));
    this.measure.set_point('pin', moved.map((value) => Math.min(1, Math.max(0, value))));
    event.preventDefault();
  }

  // At most once per picture period.
  request_soon() {
    if (this.request_timer) return;
    this.request_timer = setTimeout(() => { this.request_timer = null; this.on_change(); }, 40);
  }

  update(state, live) {
    this.live = live;
    this.offline = state.level === 3;
    this.measure.update(state);
    this.show_ages();
  }

  // A robot's pictures and values turn grey when they are old; a bag that stands still is not old.
  show_ages() {
    const now = performance.now();
    for (const stream of this.streams()) {
      const age_ms = this.live && this.drawn_ms[stream] ? now - this.drawn_ms[stream] : 0;
      const old = age_ms > OLD_MS;
      this.panes[stream].classList.toggle('stale', old || this.offline === true);
      if (old) this.panes[stream].dataset.age = `${Math.round(age_ms / 1000)} s old`; else delete this.panes[stream].dataset.age;
    }
    this.measure.show_age(now, this.live ? OLD_MS : Infinity, this.offline === true);
  }

  set_stale(stale) {
    this.offline = stale;
    this.show_ages();
  }

  rate() {
    const now = performance.now(), recent = this.draw_times.filter((time) => now - time < 2000);
    return recent.length > 1 ? ((recent.length - 1) * 1000) / (recent.at(-1) - recent[0]) : 0;
  }

  draw(header, pictures) {
    for (const [stream, picture] of pictures) {
      const canvas = this.panes[stream].querySelector('canvas');
      if (canvas.width !== picture.width || canvas.height !== picture.height) [canvas.width, canvas.height] = [picture.width, picture.height];
      canvas.getContext('2d').drawImage(picture, 0, 0);
      this.panes[stream].dataset.stamp = header.stamp_ns;
      this.drawn_ms[stream] = performance.now();
      const size = [picture.width, picture.height];
      if (size[0] / size[1] !== this.size[0] / this.size[1]) this.viewer.style.setProperty('--ratio', size[0] / size[1]);
      this.size = size;
      picture.close();
    }
    const drawn = pictures.map(([stream]) => stream);
    for (const [stream, pane] of Object.entries(this.panes)) {
      const error = header.errors[stream] || (pictures.length && !drawn.includes(stream) ? `No ${NAMES[stream]} picture at this time.` : '');
      if (error) pane.dataset.error = error; else delete pane.dataset.error;
    }
    if (pictures.length) {
      this.stage.classList.add('has-picture');
      this.draw_times = [...this.draw_times.slice(-120), performance.now()];
    }
    this.measure.take(header);
    this.show_ages();
  }

  // Saves what is shown, in the resolution of the pictures.
  save() {
    const shown = this.streams().map((stream) => this.panes[stream].querySelector('canvas')).filter((canvas) => canvas.width > 0);
    if (!shown.length) return;
    const [width, height] = [shown[0].width, shown[0].height], out = document.createElement('canvas');
    const columns = this.mode === 'grid' ? shown.length : 1;
    [out.width, out.height] = [width * columns, height];
    const context = out.getContext('2d');
    if (this.mode === 'swipe' && shown.length === 2) {
      const split = Math.round((width * this.split) / 100);
      context.drawImage(shown[1], 0, 0, width, height);
      if (split > 0) context.drawImage(shown[0], 0, 0, (shown[0].width * split) / width, shown[0].height, 0, 0, split, height);
    } else {
      shown.forEach((canvas, index) => context.drawImage(canvas, width * index, 0, width, height));
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
