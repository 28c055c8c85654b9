// The panels beside the pictures: status and parameters.
const $ = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

export class Health {
  update(state, shown_hz) {
    $('health').classList.toggle('stale', Boolean(state.stale));
    this.tiles(state, shown_hz);
    this.stages(state);
    $('alarms-box').hidden = !(state.alarms || []).length;
    this.statuses($('alarms'), state.alarms || []);
    this.statuses($('statuses'), state.statuses);
    const topics = Object.entries(state.topics || {}).map(([stream, topic]) => `${stream}: ${topic}`).join('  ·  ');
    $('topics').textContent = [topics && `Topics: ${topics}`, state.model && `Network on ${state.model}`].filter(Boolean).join('. ');
  }

  tiles(state, shown_hz) {
    const status = (name) => (state.statuses.find((item) => item.name === name) || { values: {} }).values;
    const fusion = status('fusion'), hz = (value) => (value > 0 || value === 0 ? `${Number(value).toFixed(1)} Hz` : '–');
    const ms = (value) => (value > 0 ? `${Number(value).toFixed(value < 100 ? 1 : 0)} ms` : '–');
    const tiles = [];
    if (state.bag) {
      tiles.push(['on this page', hz(shown_hz)]);
    } else {
      tiles.push(['fused', hz(fusion['rate [Hz]'])], ['rgb', hz(status('input rgb')['rate [Hz]'])], ['thermal', hz(status('input thermal')['rate [Hz]'])]);
      tiles.push(['latency p50', ms(fusion['latency p50 [ms]'])], ['latency p95', ms(fusion['latency p95 [ms]'])], ['on this page', hz(shown_hz)]);
    }
    $('tiles').replaceChildren(...tiles.map(([name, text]) => element('div', {}, element('b', { textContent: text }), element('span', { textContent: name }))));
  }

  // The time of each stage of the pipeline: of a robot the medians in its diagnostics, of a bag those of the last pair.
  stages(state) {
    const fusion = (state.statuses.find((item) => item.name === 'fusion') || { values: {} }).values;
    const measured = Object.entries(fusion).map(([key, value]) => [(/^stage (.+) p50 \[ms\]$/.exec(key) || [])[1], Number(value)]);
    const stages = (state.bag ? Object.entries(state.timings_ms) : measured).filter(([name, value]) => name && value >= 0);
    const total = Math.max(...stages.map(([, value]) => value), 0.001);
    $('stages').hidden = !stages.length;
    $('stages').replaceChildren(element('h3', { textContent: state.bag ? 'Stages, last pair' : 'Stages, median' }), ...stages.flatMap(([name, value]) => {
      const bar = element('i');
      bar.style.width = `${(100 * value) / total}%`;
      return [element('span', { textContent: name }), element('div', {}, bar), element('b', { textContent: `${value.toFixed(1)} ms` })];
    }));
  }

  // Existing elements are reused, so that opened details stay open.
  statuses(place, list) {
    const old = new Map([...place.children].map((item) => [item.dataset.name, item]));
    place.replaceChildren(...list.map((status) => {
      const item = old.get(status.name) || element('li', {}, element('details', {}, element('summary', {}, element('b'), element('span')), element('table')));
      item.dataset.name = status.name;
      const details = item.firstChild;
      details.dataset.level = Math.min(status.level, 3);
      details.querySelector('b').textContent = status.name;
      details.querySelector('span').textContent = status.message;
      const rows = Object.entries(status.values).map(([key, value]) => element('tr', {}, element('td', { textContent: key }), element('td', { textContent: value })));
      details.querySelector('table').replaceChildren(...rows);
      return item;
    }));
  }
}

const SLIDER_SPAN = 100;
const GROUPS = { sync: 'Synchronization', agc: 'Gain control', output: 'Output', registration: 'Registration', shutter: 'Shutter', sensor: 'Sensor correction',
  degraded: 'Camera failures', hot_spots: 'Hot spots', alarms: 'Regions and alarms', latency: 'Latency', diagnostics: 'Diagnostics limits', '': 'General' };
const FIRST = ['output', 'agc', 'hot_spots', 'alarms', 'registration', 'sync'];

// Selects outside the panel for a few parameters; one that cannot be changed here is disabled.
export class QuickOptions {
  constructor(set) {
    this.selects = Object.fromEntries([...document.querySelectorAll('[data-option]')].map((select) => [select.dataset.option, select]));
    for (const [name, select] of Object.entries(this.selects)) select.onchange = () => { this.pending = name; set(name, select.value); };
  }

  build(options) {
    this.pending = '';
    for (const select of Object.values(this.selects)) select.replaceChildren();
    for (const option of options) {
      if (this.selects[option.name]) this.selects[option.name].replaceChildren(...option.choices.map((choice) => new Option(choice.replaceAll('_', ' '), choice)));
    }
  }

  update(state) {
    for (const [name, select] of Object.entries(this.selects)) {
      const value = state.values[name];
      select.disabled = !select.options.length || value === undefined || state.level === 3;
      if (value !== undefined && name !== this.pending && document.activeElement !== select) select.value = value;
    }
  }

  on_answer({ name, ok, reason }) {
    if (!this.selects[name]) return;
    this.pending = '';
    this.selects[name].blur();
    $('notice').textContent = ok ? '' : reason;
  }
}

export class Parameters {
  constructor(set) {
    this.set = set;
    this.rows = {};
    $('filter').addEventListener('input', () => this.filter());
  }

  build(options) {
    const groups = new Map();
    this.rows = {};
    for (const option of options) {
      const dot = option.name.indexOf('.');
      const group = dot < 0 ? '' : option.name.slice(0, dot);
      if (!groups.has(group)) groups.set(group, []);
      const row = new Row(option, option.name.slice(dot + 1), (value) => this.set(option.name, value));
      this.rows[option.name] = row;
      groups.get(group).push(row);
    }
    const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
    const sorted = [...groups].sort(([one], [other]) => rank(one) - rank(other));
    this.groups = sorted.map(([name, rows], index) => {
      const count = element('em');
      const box = element('details', { className: 'group', open: index === 0 }, element('summary', {}, GROUPS[name] || name, count), ...rows.map((row) => row.box));
      return { box, rows, count };
    });
    $('groups').replaceChildren(...this.groups.map((group) => group.box));
    this.filter();
  }

  update(state) {
    $('params-note').textContent = state.options_note || '';
    const known = Object.keys(state.values || {}).length > 0 && state.level !== 3;
    for (const [name, row] of Object.entries(this.rows)) row.update(state.values[name], known);
    for (const group of this.groups || []) {
      const changed = group.rows.filter((row) => row.changed).length;
      group.count.textContent = changed ? `${changed} changed` : '';
    }
  }

  on_answer(answer) {
    if (this.rows[answer.name]) this.rows[answer.name].on_answer(answer);
  }

  filter() {
    const word = $('filter').value.trim().toLowerCase();
    for (const group of this.groups || []) {
      let any = false;
      for (const row of group.rows) {
        const matches = !word || `${row.option.name} ${row.option.doc}`.toLowerCase().includes(word);
        row.box.hidden = !matches;
        any = any || matches;
      }
      group.box.hidden = !any;
      if (word) group.box.open = any;
    }
  }
}

class Row {
  constructor(option, label, set) {
    this.option = option;
    this.changed = false;
    this.value = undefined;
    this.dirty = false;
    const id = `p-${option.name}`;
    this.control = this.make_control(id);
    this.message = element('div', { className: 'message' });
    this.message.setAttribute('role', 'status');
    const reset = element('button', { className: 'reset', type: 'button', textContent: 'reset', title: `default: ${option.default === '' ? 'empty' : option.default}` });
    reset.onclick = () => this.send(option.default);
    const line = element('div', { className: 'line' }, element('label', { htmlFor: id, textContent: label }), reset, this.control);
    line.append(element('span', { className: 'unit', textContent: option.unit }));
    this.box = element('div', { className: 'param' }, line);
    this.box.dataset.name = option.name;
    this.slider = this.make_slider(label);
    if (this.slider) this.box.append(this.slider);
    this.box.append(element('div', { className: 'doc', textContent: option.doc }), this.message);
    this.send = (value) => { this.message.textContent = ''; this.pending = value; set(value); };
  }

  make_control(id) {
    const { kind, choices, low, high } = this.option;
    let made;
    if (kind === 'choice') {
      made = element('select', {}, ...choices.map((name) => new Option(name, name)));
      made.onchange = () => this.send(made.value);
    } else if (kind === 'bool') {
      made = element('input', { type: 'checkbox' });
      made.onchange = () => this.send(made.checked);
    } else if (kind === 'text') {
      made = element('input', { type: 'text' });
    } else {
      made = element('input', { type: 'number', step: kind === 'int' ? 1 : 'any' });
      if (low !== null) made.title = `${low} to ${high}`;
    }
    if (kind === 'text' || kind === 'int' || kind === 'float') {
      made.oninput = () => { this.dirty = true; };
      made.onchange = () => this.commit();
      made.onkeydown = (event) => { if (event.key === 'Escape') { this.dirty = false; this.show(this.value); } };
    }
    made.id = id;
    return made;
  }

  commit() {
    this.dirty = false;
    const text = this.control.value;
    if (this.option.kind === 'text') this.send(text);
    else if (text === '') this.show(this.value);
    else this.send(Number(text));
  }

  make_slider(label) {
    const { kind, low, high } = this.option;
    if (kind !== 'float' || low === null || high - low > SLIDER_SPAN) return null;
    const slider = element('input', { type: 'range', min: low, max: high, step: (high - low) / 200 });
    slider.setAttribute('aria-label', `${label}, slider`);
    slider.oninput = () => {
      this.control.value = slider.value;
      this.dirty = true;
      clearTimeout(this.slider_timer);
      this.slider_timer = setTimeout(() => { this.dirty = false; this.send(Number(slider.value)); }, 120);
    };
    return slider;
  }

  show(value) {
    if (value === undefined) return;
    if (this.option.kind === 'bool') this.control.checked = value;
    else this.control.value = value;
    if (this.slider) this.slider.value = value;
  }

  update(value, known) {
    this.control.disabled = !known;
    if (this.slider) this.slider.disabled = !known;
    if (value === undefined) return;
    const differs = value !== this.value;
    this.value = value;
    this.changed = value !== this.option.default;
    this.box.classList.toggle('changed', this.changed);
    if (differs && !this.dirty && this.pending === undefined) this.show(value);
  }

  on_answer({ ok, reason }) {
    this.message.textContent = ok ? 'applied' : reason;
    this.message.classList.toggle('good', ok);
    if (ok) {
      this.show(this.pending);
      clearTimeout(this.message_timer);
      this.message_timer = setTimeout(() => { this.message.textContent = ''; }, 2500);
    } else if (!this.dirty) {
      this.show(this.value);
    }
    this.pending = undefined;
  }
}
