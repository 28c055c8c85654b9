// The pictures: which are shown, the slider between two of them, and the measuring points (under the cursor, and pinned).
const NAMES = { rgb: 'RGB', thermal: 'Thermal', fused: 'Fused' };
const CLICK_PX = 5;

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
    this.cursor = null; // [x, y] as fractions of width and height
    this.pin = null;
    this.readings = { cursor: null, pin: null };
    this.requested = []; // the points of the latest request, in order
    this.draw_times = [];
    this.size = [0, 0];
    this.load_settings();
    this.connect_events();
    this.layout();
  }

  load_settings() {
    try { Object.assign(this, JSON.parse(localStorage.getItem('aenet-view') || '{}')); } catch { /* nothing stored, or no access */ }
    this.viewer.querySelector('#palette').value = this.palette || 'grey';
  }

  save_settings() {
    const { mode, left, right, palette } = this;
    try { localStorage.setItem('aenet-view', JSON.stringify({ mode, left, right, palette })); } catch { /* no access */ }
  }

  streams() {
    if (this.mode === 'swipe') return [this.left, this.right];
    return this.mode === 'grid' ? ['rgb', 'thermal', 'fused'] : [this.mode];
  }

  request() {
    this.requested = ['cursor', 'pin'].filter((name) => this[name]);
    const wide = this.mode === 'grid' ? 1 / 3 : 1;
    const width = Math.max(160, this.stage.clientWidth * wide * (window.devicePixelRatio || 1));
    return { streams: this.streams(), points: this.requested.map((name) => this[name]), width };
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
    this.viewer.querySelector('#palette').onchange = (event) => { this.palette = event.target.value; this.layout(); };
    this.viewer.querySelector('#swap').onclick = () => this.swap();
    this.viewer.querySelector('#unpin').onclick = () => this.unpin();
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
    this.stage.addEventListener('pointerleave', () => this.set_point('cursor', null));
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
    this.viewer.querySelector('#palette-choice').hidden = !shown.includes('thermal');
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

  // The pointer: hovering measures, dragging moves the slider, a click sets the measuring point.

  position_of(event) {
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
      if (pressed.dragging) { this.set_split(this.position_of(event)[0] * 100); return; }
    }
    if (event.pointerType !== 'touch') this.set_point('cursor', this.divider.contains(event.target) ? null : this.position_of(event));
  }

  release(event) {
    const pressed = this.pressed;
    this.pressed = null;
    if (pressed && !pressed.dragging && !pressed.on_divider) this.set_point('pin', this.position_of(event));
  }

  move_pin(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.target !== this.stage || !step) return;
    const from = this.pin || [0.5, 0.5], by = event.shiftKey ? 10 : 1;
    const moved = from.map((value, axis) => value + (step[axis] * by) / (this.size[axis] || 100));
    this.set_point('pin', moved.map((value) => Math.min(1, Math.max(0, value))));
    event.preventDefault();
  }

  unpin() { this.set_point('pin', null); }

  set_point(name, position) {
    if (!position && !this[name]) return;
    this[name] = position;
    if (!position) this.readings[name] = null;
    this.draw_marks();
    this.request_soon();
  }

  // At most once per picture period.
  request_soon() {
    if (this.request_timer) return;
    this.request_timer = setTimeout(() => { this.request_timer = null; this.on_change(); }, 40);
  }

  update(state) {
    this.viewer.querySelector('#scale').textContent = state.temperature || '';
  }

  set_stale(stale) {
    for (const pane of Object.values(this.panes)) pane.classList.toggle('stale', stale);
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
    if (header.readings && header.readings.length === this.requested.length) {
      this.requested.forEach((name, index) => { this.readings[name] = header.readings[index]; });
      this.draw_marks();
    }
  }

  draw_marks() {
    const marks = ['cursor', 'pin'].filter((name) => this[name]).map((name) => {
      const mark = document.createElement('i');
      mark.className = name + (this[name][0] > 0.8 ? ' flip' : '');
      mark.style.left = `${this[name][0] * 100}%`;
      mark.style.top = `${this[name][1] * 100}%`;
      mark.dataset.text = short_text(this.readings[name]);
      return mark;
    });
    for (const pane of Object.values(this.panes)) pane.querySelector('.marks').replaceChildren(...marks.map((mark) => mark.cloneNode()));
    this.viewer.querySelector('#at-cursor').textContent = this.cursor ? long_text(this.readings.cursor) : '–';
    this.viewer.querySelector('#at-pin').textContent = this.pin ? long_text(this.readings.pin) : 'click the picture to set it';
    this.viewer.querySelector('#unpin').hidden = !this.pin;
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

const short_text = (reading) => {
  if (!reading || reading.counts === null) return '';
  return reading.celsius === null ? `${Math.round(reading.counts)}` : `${reading.celsius.toFixed(1)} °C`;
};
const long_text = (reading) => {
  if (!reading) return '…';
  if (reading.counts === null) return 'outside the thermal view';
  const counts = `${Number.isInteger(reading.counts) ? reading.counts : reading.counts.toFixed(2)} counts`;
  return reading.celsius === null ? `${counts}, no temperature` : `${reading.celsius.toFixed(1)} °C (${counts})`;
};
