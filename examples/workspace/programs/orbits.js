// Orbital periods by numerical integration: leapfrog steps round the Sun until a full turn is made.
// Runs in code_js, which passes the table as files["data/planets.csv"]. Give it a number of steps per orbit as `input`.
const gravity = 132712440018; // km³/s², the Sun
const steps = typeof input === 'number' ? input : 100000;

function periodDays(axisKm) {
  const speed = Math.sqrt(gravity / axisKm);
  const dt = (2 * Math.PI * axisKm) / speed / steps;
  let x = axisKm,
    y = 0,
    vx = 0,
    vy = speed,
    seconds = 0;
  for (;;) {
    const before = y;
    const r1 = x * x + y * y,
      pull1 = -gravity / (r1 * Math.sqrt(r1));
    vx += 0.5 * dt * pull1 * x;
    vy += 0.5 * dt * pull1 * y;
    x += dt * vx;
    y += dt * vy;
    const r2 = x * x + y * y,
      pull2 = -gravity / (r2 * Math.sqrt(r2));
    vx += 0.5 * dt * pull2 * x;
    vy += 0.5 * dt * pull2 * y;
    seconds += dt;
    // Back on the axis from below: the part of the last step that was too much is taken off.
    if (before < 0 && y >= 0) return (seconds - (dt * y) / (y - before)) / 86400;
  }
}

const [head, ...rows] = files['data/planets.csv']
  .trim()
  .split('\n')
  .map((line) => line.split(','));
const column = (name) => head.indexOf(name);
rows.map((row) => ({
  planet: row[column('planet')],
  computedDays: Math.round(periodDays(Number(row[column('semi_major_axis_million_km')]) * 1e6) * 10) / 10,
  measuredDays: Number(row[column('orbital_period_days')]),
}));
