// The player of a bag.
const $ = (id) => document.getElementById(id);
const clock = (seconds, digits) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, '0')}`;

export class Player {
  constructor(send) {
    this.send = send;
    this.playing = true;
    this.duration_s = 0;
    this.at_s = 0;
    $('play').onclick = () => this.toggle();
    $('step').onclick = () => this.step();
    $('seek').oninput = () => { this.seek_time = performance.now(); this.seek(Number($('seek').value)); };
    $('speed').onchange = () => send({ type: 'speed', value: Number($('speed').value) });
  }

  enable(enabled) {
    this.enabled = enabled;
    $('player').hidden = !enabled;
    for (const item of document.querySelectorAll('.bag-only')) item.hidden = !enabled;
  }

  toggle() {
    if (!this.enabled) return;
    this.send({ type: this.playing ? 'pause' : 'play' });
    this.set_playing(!this.playing);
  }

  step() { if (this.enabled) { this.send({ type: 'step' }); this.set_playing(false); } }

  skip(seconds) { if (this.enabled) this.seek(this.at_s + seconds); }

  seek(at_s) {
    this.at_s = Math.min(this.duration_s, Math.max(0, at_s));
    this.send({ type: 'seek', value: this.at_s });
    this.show_clock();
  }

  set_time(at_s) {
    if (!this.enabled || performance.now() - (this.seek_time || 0) < 400) return;
    this.at_s = at_s;
    $('seek').value = at_s;
    this.show_clock();
  }

  update(bag) {
    if (!bag) return;
    this.duration_s = bag.duration_s;
    $('seek').max = bag.duration_s;
    $('speed').value = bag.speed;
    this.set_playing(bag.playing);
    $('play').textContent = bag.ended ? 'Replay' : this.playing ? 'Pause' : 'Play';
    this.show_clock();
  }

  set_playing(playing) {
    this.playing = playing;
    $('play').textContent = playing ? 'Pause' : 'Play';
  }

  show_clock() { $('clock').textContent = `${clock(this.at_s, 1)} / ${clock(this.duration_s, 0)}`; }
}
