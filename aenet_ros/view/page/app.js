// The connection to the viewer: it comes back by itself, and a page says what it looks at.
import { Stage } from './stage.js';
import { Health, Parameters, Player } from './panels.js';

const FIRST_WAIT_MS = 400, LONGEST_WAIT_MS = 4000;
const $ = (id) => document.getElementById(id);

let socket = null, waitMs = FIRST_WAIT_MS;
const send = (words) => { if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(words)); };
const look = () => { if (socket) send({ type: 'look', ...(document.hidden ? { streams: [], spots: [] } : stage.wishes()) }); };

const stage = new Stage($('viewer'), look);
const health = new Health();
const parameters = new Parameters((name, value) => send({ type: 'set', name, value }));
const player = new Player(send);

function say(level, headline, remedy = '') {
  $('banner').dataset.level = level;
  $('headline').textContent = headline + (/[.!?]$/.test(headline) ? '' : '.');
  $('remedy').textContent = remedy ? remedy[0].toUpperCase() + remedy.slice(1) + (/[.!?]$/.test(remedy) ? '' : '.') : '';
}

function mark(level, text) {
  $('link').dataset.level = level;
  $('link').textContent = text;
}

function connect() {
  const address = new URL('ws', document.baseURI);
  address.protocol = address.protocol.replace('http', 'ws');
  const own = socket = new WebSocket(address);
  own.binaryType = 'arraybuffer';
  own.onopen = () => { waitMs = FIRST_WAIT_MS; look(); };
  own.onmessage = (event) => (typeof event.data === 'string' ? hear(JSON.parse(event.data)) : draw(own, event.data));
  own.onclose = () => { stage.grow_old(true); mark(2, 'not connected'); lost(); };
}

async function lost() {
  say(3, 'The viewer cannot be reached', 'is aenet view still running, and the ssh tunnel open? This page tries again by itself');
  setTimeout(connect, waitMs);
  waitMs = Math.min(waitMs * 1.6, LONGEST_WAIT_MS);
  try {
    const answer = await fetch('./', { method: 'HEAD' });
    if (answer.status === 401) say(3, 'The viewer was started anew with another token', 'load this page again and give it the new one');
  } catch { /* it is not there: said already */ }
}

async function draw(own, data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let from = 4 + length;
  const pictures = await Promise.all(header.parts.map(async ([stream, size]) => {
    const jpeg = new Blob([new Uint8Array(data, from, size)], { type: 'image/jpeg' });
    from += size;
    return [stream, await createImageBitmap(jpeg)];
  }));
  requestAnimationFrame(() => {
    stage.draw(header, pictures);
    player.at(header.at_s);
    if (own.readyState === WebSocket.OPEN) own.send('{"type":"drawn"}');
  });
}

function hear(words) {
  if (words.type === 'hello') {
    $('title').textContent = words.title;
    document.title = `${words.title} · aenet view`;
    document.body.dataset.kind = words.kind;
    player.show(words.kind === 'bag');
    parameters.build(words.options);
  } else if (words.type === 'state') {
    say(words.level, words.headline, words.remedy);
    mark(words.level, ['well', 'look here', 'a fault', 'no robot'][words.level]);
    stage.told(words);
    stage.grow_old(words.level === 3);
    health.told(words, stage.rate());
    parameters.told(words);
    player.told(words.bag);
  } else if (words.type === 'answer') {
    parameters.answered(words);
  }
}

document.addEventListener('visibilitychange', look);
$('help-open').onclick = () => $('help').showModal();
$('save').onclick = () => stage.save();
$('full').onclick = () => (document.fullscreenElement ? document.exitFullscreen() : $('viewer').requestFullscreen());

for (const tab of document.querySelectorAll('[role=tab]')) tab.onclick = () => choose(tab);
function choose(chosen) {
  for (const tab of document.querySelectorAll('[role=tab]')) {
    tab.setAttribute('aria-selected', tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
    $(tab.getAttribute('aria-controls')).hidden = tab !== chosen;
  }
}
document.querySelector('[role=tablist]').addEventListener('keydown', (event) => {
  if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
  const other = document.querySelector('[role=tab][aria-selected=false]');
  choose(other);
  other.focus();
});

document.addEventListener('keydown', (event) => {
  const typing = event.target.matches('input:not([type=range]):not([type=checkbox]), select, textarea');
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  if (typing) { if (event.key === 'Escape') event.target.blur(); return; }
  const acts = {
    f: () => $('full').click(), s: () => stage.save(), x: () => stage.swap(), '?': () => $('help').showModal(), Escape: () => stage.unpin(),
    '/': () => { choose($('tab-params')); $('filter').focus(); },
    '.': () => player.step(), j: () => player.skip(-5), l: () => player.skip(5), k: () => player.toggle(),
  };
  const modes = ['swipe', 'grid', 'fused', 'rgb', 'thermal'];
  if (modes[event.key - 1]) stage.set_mode(modes[event.key - 1]);
  else if (event.key === ' ' && !event.target.matches('button, summary, input')) player.toggle();
  else if (acts[event.key]) acts[event.key]();
  else return;
  event.preventDefault();
});

connect();
