// Loaded into a server by --import: on SIGUSR2 it tells on standard error the longest time that its event loop stood still since it
// was last asked, and the CPU that its process has used, as one line of JSON.
import { writeSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
process.on('SIGUSR2', () => {
  const { user, system } = process.cpuUsage();
  writeSync(2, `loop-watch ${JSON.stringify({ holdMs: delay.max / 1e6, cpuMs: (user + system) / 1000 })}\n`);
  delay.reset();
});
