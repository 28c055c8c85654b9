// The connection to the viewer, with automatic reconnection, and the requests of the page.
import { Stage } from './stage.js';
import { Health, Parameters, QuickOptions } from './panels.js';
import { Player } from './player.js';

const MIN_WAIT_MS = 400, MAX_WAIT_MS = 4000;
const LEVELS = ['OK', 'WARN', 'ERROR', 'OFFLINE', 'WAITING'], OFFLINE = 3;
const $ = (id) => document.getElementById(id);

let socket = null, waitMs = MIN_WAIT_MS;
const send = (message) => { if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); };
const request = () => { if (socket) send({ type: 'request', ...(document.hidden ? { streams: [], points: [], spots: false } : stage.request()) }); };

const stage = new Stage($('viewer'), request);
const health = new Health();
const parameters = new Parameters((name, value) => send({ type: 'set', name, value }));
const quick = new QuickOptions((name, value) => send({ type: 'set', name, value }));
const player = new Player(send);

const sentence = (text) => text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

function show_status(level, headline, remedy = '') {
  $('pill').dataset.level = level;
  $('pill').textContent = LEVELS[level];
  $('banner').dataset.level = level;
  $('headline').textContent = sentence(headline);
  $('remedy').textContent = sentence(remedy);
}

function connect() {
  const address = new URL('ws', document.baseURI);
  address.protocol = address.protocol.replace('http', 'ws');
  const current = socket = new WebSocket(address);
  current.binaryType = 'arraybuffer';
  current.onopen = () => { waitMs = MIN_WAIT_MS; request(); };
  current.onmessage = (event) => (typeof event.data === 'string' ? on_message(JSON.parse(event.data)) : draw(current, event.data));
  current.onclose = () => { stage.set_stale(true); reconnect(); };
}

async function reconnect() {
  show_status(OFFLINE, 'The viewer cannot be reached', 'check that aenet view runs and that the ssh tunnel is open; this page reconnects automatically');
  setTimeout(connect, waitMs);
  waitMs = Math.min(waitMs * 1.6, MAX_WAIT_MS);
  try {
    const answer = await fetch('./', { method: 'HEAD' });
    if (answer.status === 401) show_status(OFFLINE, 'The viewer was restarted with another token', 'reload this page and enter the new token');
  } catch { /* not reachable: shown already */ }
}

async function draw(current, data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let offset = 4 + length;
  const pictures = await Promise.all(header.parts.map(async ([stream, size]) => {
    const jpeg = new Blob([new Uint8Array(data, offset, size)], { type: 'image/jpeg' });
    offset += size;
    return [stream, await createImageBitmap(jpeg)];
  }));
  requestAnimationFrame(() => {
    stage.draw(header, pictures);
    player.set_time(header.at_s);
    if (current.readyState === WebSocket.OPEN) current.send('{"type":"drawn"}');
  });
}

function on_message(message) {
  if (message.type === 'hello') {
    $('title').textContent = message.title;
    document.title = `${message.title} · aenet view`;
    document.body.dataset.kind = message.kind;
    player.enable(message.kind === 'bag');
    parameters.build(message.options);
    quick.build(message.options);
  } else if (message.type === 'state') {
    show_status(message.level, message.headline, message.remedy);
    stage.update(message, document.body.dataset.kind === 'robot');
    health.update(message, stage.rate());
    parameters.update(message);
    quick.update(message);
    player.update(message.bag);
  } else if (message.type === 'answer') {
    parameters.on_answer(message);
    quick.on_answer(message);
  }
}

document.addEventListener('visibilitychange', request);
$('help-open').onclick = () => $('help').showModal();
$('save').onclick = () => stage.save();
$('full').onclick = () => (document.fullscreenElement ? document.exitFullscreen() : $('viewer').requestFullscreen());

for (const tab of document.querySelectorAll('[role=tab]')) tab.onclick = () => select_tab(tab);
function select_tab(chosen) {
  for (const tab of document.querySelectorAll('[role=tab]')) {
    tab.setAttribute('aria-selected', tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
    $(tab.getAttribute('aria-controls')).hidden = tab !== chosen;
  }
}
document.querySelector('[role=tablist]').addEventListener('keydown', (event) => {
  if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
  const other = document.querySelector('[role=tab][aria-selected=false]');
  select_tab(other);
  other.focus();
});

document.addEventListener('keydown', (event) => {
  const typing = event.target.matches('input:not([type=range]):not([type=checkbox]), select, textarea');
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  if (typing) { if (event.key === 'Escape') event.target.blur(); return; }
  const actions = {
    f: () => $('full').click(), s: () => stage.save(), x: () => stage.swap(), '?': () => $('help').showModal(), Escape: () => stage.measure.clear(),
    b: () => $('draw-box').click(), h: () => $('mark-spots').click(),
    '/': () => { select_tab($('tab-params')); $('filter').focus(); },
    '.': () => player.step(), j: () => player.skip(-5), l: () => player.skip(5), k: () => player.toggle(),
  };
  const modes = ['swipe', 'grid', 'fused', 'rgb', 'thermal'];
  if (modes[event.key - 1]) stage.set_mode(modes[event.key - 1]);
  else if (event.key === ' ' && !event.target.matches('button, summary, input')) player.toggle();
  else if (actions[event.key]) actions[event.key]();
  else return;
  event.preventDefault();
});

connect();
