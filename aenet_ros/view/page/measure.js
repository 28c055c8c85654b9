// What is measured in the pictures: the cursor, a point and its last minute, a box, hot and cold spots, watched regions.
const MINUTE_MS = 60000, MIN_SPAN = { '°C': 1, counts: 20 };
const SVG = 'http://www.w3.org/2000/svg';

export class Measure {
  constructor(viewer, panes, on_change) {
    this.find = (name) => viewer.querySelector(name);
    this.viewer = viewer;
    this.panes = panes;
    this.on_change = on_change;
    this.cursor = null; // [x, y] as fractions of width and height
    this.pin = null;
    this.box = null; // [left, top, right, bottom]
    this.marks_spots = false;
    this.drawing = false; // the next drag draws a box
    this.values = { cursor: null, pin: null, box: null };
    this.requested = []; // the points of the latest request, in order
    this.history = { pin: [], box: [] }; // [ms, value]; of a box its maximum
    this.unit = '';
    this.spots = null;
    this.grid = this.style = '';
    this.find('#unpin').onclick = () => this.set_point('pin', null);
    this.find('#unbox').onclick = () => this.set_box(null);
    this.find('#draw-box').onclick = () => this.set_drawing(!this.drawing);
    this.find('#mark-spots').onclick = () => this.toggle_spots();
    new ResizeObserver(() => this.draw_chart()).observe(this.find('#chart'));
  }

  request() {
    this.requested = ['cursor', 'pin'].filter((name) => this[name]);
    return { points: this.requested.map((name) => this[name]), box: this.box, spots: this.marks_spots };
  }

  // Whether a picture has the pixels that the values belong to.
  fits(stream) {
    return !(stream === 'fused' && this.style === 'side_by_side') && !(stream === 'rgb' && this.grid === 'thermal');
  }

  set_point(name, position) {
    if (!position && !this[name]) return;
    this[name] = position;
    this.values[name] = null;
    if (name === 'pin') this.history.pin = [];
    this.draw();
    this.on_change();
  }

  set_box(box) {
    this.box = box && [Math.min(box[0], box[2]), Math.min(box[1], box[3]), Math.max(box[0], box[2]), Math.max(box[1], box[3])];
    this.values.box = null;
    this.history.box = [];
    this.draw();
    this.on_change();
  }

  set_drawing(drawing) {
    this.drawing = drawing;
    this.find('#draw-box').setAttribute('aria-pressed', drawing);
    this.find('#stage').classList.toggle('drawing', drawing);
  }

  toggle_spots() {
    this.marks_spots = !this.marks_spots;
    this.spots = null;
    this.find('#mark-spots').setAttribute('aria-pressed', this.marks_spots);
    this.draw();
    this.on_change();
  }

  clear() {
    this.set_drawing(false);
    this.set_point('pin', null);
    if (this.box) this.set_box(null);
  }

  update(state) {
    this.note = state.temperature || '';
    this.spots_note = state.spots_note || '';
    this.grid = state.values['output.grid'];
    this.style = state.values['output.style'];
    this.find('#scale').textContent = this.no_degrees || this.note;
    this.draw_spots_note();
  }

  take(header) {
    const now_ms = Number(BigInt(header.stamp_ns) / 1000000n), readings = header.readings;
    if (readings) {
      if (readings.unit !== this.unit) this.history = { pin: [], box: [] };
      this.unit = readings.unit;
      this.no_degrees = readings.no_degrees;
      this.find('#scale').textContent = readings.no_degrees || this.note || '';
      if (readings.points.length === this.requested.length) this.requested.forEach((name, index) => { this.values[name] = readings.points[index]; });
      this.values.box = this.box ? readings.box || [] : null;
      this.values_ms = performance.now();
      this.remember('pin', now_ms, this.pin && this.values.pin ? this.values.pin[0] : null);
      this.remember('box', now_ms, this.values.box && this.values.box.length ? this.values.box[2] : null);
    }
    this.has_thermal = readings !== null;
    if (this.marks_spots && 'spots' in header) {
      this.spots = header.spots;
      if (header.spots) this.spots_ms = performance.now();
    }
    this.draw();
  }

  // A stamp that goes back, or leaps, is another place in a bag.
  remember(name, now_ms, value) {
    const list = this.history[name], last = list.at(-1);
    if (value === null || (last && last[0] === now_ms)) return;
    if (last && (now_ms < last[0] || now_ms - last[0] > MINUTE_MS)) list.length = 0;
    list.push([now_ms, value]);
    while (now_ms - list[0][0] > MINUTE_MS) list.shift();
  }

  show_age(now, limit_ms, offline) {
    const age_ms = this.values_ms ? now - this.values_ms : 0, old = age_ms > limit_ms || offline;
    this.viewer.classList.toggle('old-values', old);
    this.find('#values-age').textContent = old && age_ms > limit_ms && this.requested.length + (this.box ? 1 : 0) ? `values are ${Math.round(age_ms / 1000)} s old` : '';
  }

  short(value) { return this.unit === '°C' ? `${value.toFixed(1)} °C` : `${Math.round(value)}`; }

  long(reading) {
    if (!reading) return this.has_thermal === false ? 'no thermal frame now' : '…';
    const [value, counts] = reading;
    if (value === null) return 'outside the thermal view';
    const text = `${Number.isInteger(counts) ? counts : counts.toFixed(2)} counts`;
    return this.unit === '°C' ? `${value.toFixed(1)} °C (${text})` : text;
  }

  box_text() {
    const values = this.values.box;
    if (!values) return this.has_thermal === false ? 'no thermal frame now' : '…';
    if (!values.length) return 'outside the thermal view';
    return `min ${this.short(values[0])} · mean ${this.short(values[1])} · max ${this.short(values[2])}`;
  }

  draw() {
    for (const [stream, pane] of Object.entries(this.panes)) {
      const marks = this.fits(stream) ? [...this.point_marks(), ...this.spot_marks(stream)] : [];
      place_labels(marks, pane.clientWidth, pane.clientHeight);
      pane.querySelector('.marks').replaceChildren(...marks);
    }
    this.find('#at-cursor').textContent = this.cursor ? this.long(this.values.cursor) : '–';
    this.find('#at-pin').textContent = this.pin ? this.long(this.values.pin) : 'click the picture to set it';
    this.find('#unpin').hidden = !this.pin;
    this.find('#in-box').textContent = this.box ? this.box_text() : 'draw it with Box';
    this.find('#unbox').hidden = !this.box;
    this.draw_spots_note();
    this.draw_chart();
  }

  point_marks() {
    const marks = ['cursor', 'pin'].filter((name) => this[name]).map((name) => {
      const reading = this.values[name];
      return mark(name, this[name], reading && reading[0] !== null ? this.short(reading[0]) : '');
    });
    if (this.box) marks.push(frame('box', this.box, this.values.box && this.values.box.length ? `max ${this.short(this.values.box[2])}` : ''));
    return marks;
  }

  spot_marks(stream) {
    if (!this.spots || (this.spots.on_thermal && stream === 'rgb')) return [];
    const { spots, regions, unit } = this.spots;
    const marks = []; // the hottest and the coldest first: their labels are placed first
    const rank = (spot) => spots.filter((other) => other.kind === spot.kind).indexOf(spot);
    for (const spot of [...spots].sort((one, other) => rank(one) - rank(other))) {
      const text = `${spot.id}: ${unit ? `${spot.value.toFixed(1)} ${unit}` : Math.round(spot.value)}`;
      marks.push(frame(`spot ${spot.kind}`, spot.box, ''), mark(`spot ${spot.kind}`, spot.at, text));
    }
    if (!regions.length) return marks;
    const svg = document.createElementNS(SVG, 'svg');
    for (const [name, value] of [['viewBox', '0 0 1 1'], ['preserveAspectRatio', 'none']]) svg.setAttribute(name, value);
    for (const region of regions) {
      const shape = document.createElementNS(SVG, region.points.length > 2 ? 'polygon' : 'rect');
      const [[left, top], [right, bottom]] = [region.points[0], region.points[1]];
      if (region.points.length > 2) shape.setAttribute('points', region.points.map((point) => point.join()).join(' '));
      else for (const [name, value] of Object.entries({ x: Math.min(left, right), y: Math.min(top, bottom), width: Math.abs(right - left), height: Math.abs(bottom - top) })) shape.setAttribute(name, value);
      shape.dataset.level = region.level;
      svg.append(shape);
      const label = mark('region', [Math.min(...region.points.map((point) => point[0])), Math.min(...region.points.map((point) => point[1]))], region.name);
      label.dataset.level = region.level;
      marks.unshift(label);
    }
    return [svg, ...marks];
  }

  draw_spots_note() {
    const text = () => {
      if (this.spots_note) return this.spots_note;
      if (!this.spots) return 'waiting for hot_spots/json';
      const count = (kind) => this.spots.spots.filter((spot) => spot.kind === kind).length;
      const unit = this.spots.unit ? '' : '; values are grey levels';
      return `${count('hot')} hot, ${count('cold')} cold${unit}`;
    };
    this.find('#spots-row').hidden = !this.marks_spots;
    this.find('#spots-note').textContent = this.marks_spots ? text() : '';
  }

  draw_chart() {
    const canvas = this.find('#chart'), lines = [['pin', '#ff9d3c', 'point'], ['box', '#4aa8ff', 'max of the box']].filter(([name]) => this.history[name].length > 1);
    const shown = lines.length > 0;
    if (this.find('#chart-box').hidden === shown) this.find('#chart-box').hidden = !shown;
    if (!shown || !canvas.clientWidth) return;
    const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    const all = lines.flatMap(([name]) => this.history[name]), values = all.map((item) => item[1]), end = Math.max(...all.map((item) => item[0]));
    let low = Math.min(...values), high = Math.max(...values);
    const spare = Math.max(0, (MIN_SPAN[this.unit] || 1) - (high - low)) / 2 + (high - low) * 0.08;
    [low, high] = [low - spare, high + spare];
    const left = 64, x = (ms) => left + (width - left - 8) * (1 - (end - ms) / MINUTE_MS), y = (value) => 6 + (height - 24) * (1 - (value - low) / (high - low));
    context.font = '12px system-ui';
    context.fillStyle = '#97a3b1';
    context.strokeStyle = '#2c343e';
    context.textAlign = 'right';
    for (const value of [low + spare, high - spare]) {
      context.fillText(this.short(value), left - 8, Math.min(height - 20, Math.max(12, y(value) + 4)));
      context.beginPath(); context.moveTo(left, y(value)); context.lineTo(width - 8, y(value)); context.stroke();
    }
    for (const seconds of [60, 40, 20, 0]) {
      context.textAlign = seconds === 60 ? 'left' : seconds ? 'center' : 'right';
      context.fillText(seconds ? `−${seconds} s` : 'now', x(end - seconds * 1000), height - 2);
    }
    for (const [name, color] of lines) {
      context.strokeStyle = color;
      context.lineWidth = 1.8;
      context.beginPath();
      for (const [ms, value] of this.history[name]) context.lineTo(x(ms), y(value));
      context.stroke();
    }
    this.find('#trend').replaceChildren(...lines.map(([name, color, text]) => {
      const item = document.createElement('span');
      item.style.color = color;
      item.textContent = `${text} ${this.change(this.history[name])}`;
      return item;
    }));
  }

  // Between the means of the first and the last tenth, so that noise of single pictures does not count.
  change(list) {
    const seconds = (list.at(-1)[0] - list[0][0]) / 1000, part = Math.ceil(list.length / 10);
    const mean = (items) => items.reduce((sum, item) => sum + item[1], 0) / items.length;
    const change = mean(list.slice(-part)) - mean(list.slice(0, part));
    return `${change < 0 ? '−' : '+'}${this.short(Math.abs(change))} in ${Math.round(seconds)} s`;
  }
}

const LABEL_HEIGHT = 19, CHARACTER = 7, LABEL_GAP = 14;

// Labels stay within the picture; one that would cover an earlier one is left out.
function place_labels(marks, width, height) {
  const taken = [];
  for (const item of marks.filter((one) => one.dataset.text)) {
    const [x, y] = [item.place[0] * width, item.place[1] * height], length = item.dataset.text.length * CHARACTER + 14;
    const framed = item.classList.contains('frame'), flips = x + LABEL_GAP + length > width && x > length;
    item.classList.toggle('flip', flips);
    const left = framed ? x : flips ? x - LABEL_GAP - length : x + LABEL_GAP, top = framed ? y - LABEL_HEIGHT : y - LABEL_HEIGHT / 2;
    const covers = taken.some(([other_left, other_top, other_length]) => left < other_left + other_length && other_left < left + length && Math.abs(top - other_top) < LABEL_HEIGHT);
    if (covers) item.dataset.text = '';
    else taken.push([left, top, length]);
  }
}

function mark(kind, [x, y], text) {
  const made = document.createElement('i');
  made.className = `mark ${kind}`;
  made.place = [x, y];
  made.style.left = `${x * 100}%`;
  made.style.top = `${y * 100}%`;
  made.dataset.text = text;
  return made;
}

function frame(kind, [left, top, right, bottom], text) {
  const made = document.createElement('i');
  made.className = `frame ${kind}${top < 0.08 ? ' top' : ''}`;
  made.place = [left, top];
  Object.assign(made.style, { left: `${left * 100}%`, top: `${top * 100}%`, width: `${(right - left) * 100}%`, height: `${(bottom - top) * 100}%` });
  made.dataset.text = text;
  return made;
}
