import { availableParallelism } from 'node:os';
import { InvalidArgumentError, Option } from 'commander';
import type { CliContext } from '../context.ts';
import { exitCodes, UsageError } from '../exit-codes.ts';
import { handleInterrupts } from '../interrupt.ts';
import { count } from '../style.ts';
import type { Registrar } from './command.ts';

interface SimOptions {
  readonly seed?: number;
  readonly seeds: number;
  readonly from: number;
  readonly jobs: number;
  readonly plan?: string;
  readonly trace?: boolean;
  readonly twice?: boolean;
  readonly shrink: boolean;
}

const most = 999_999_999_999;
const toldEveryMs = 5_000;

export function simCommand({ program, action }: Registrar): void {
  program
    .command('sim')
    .description('simulate whole clusters with faults, from seeds, and hold them against what must never happen')
    .option('--seeds <count>', 'so many simulations', wholeFrom(1), 200)
    .option('--from <number>', 'the first seed', wholeFrom(0), 1)
    .addOption(
      new Option('--jobs <count>', 'so many at a time').argParser(wholeFrom(1)).default(availableParallelism(), 'one for each core'),
    )
    .addOption(new Option('--seed <number>', 'this one').argParser(wholeFrom(0)).conflicts(['seeds', 'from', 'plan']))
    .addOption(
      new Option('--plan <file>', 'the plan in this file, which may be all that a failing simulation printed').conflicts(['seeds', 'from']),
    )
    .option('--trace', 'with --seed or --plan: show what happens, with a column for each node')
    .option('--twice', 'run each simulation twice: both have to be the same to the last byte')
    .option('--no-shrink', 'do not look for the smallest plan that fails as a seed does; with --trace nobody looks')
    .action(action(sim));
}

function wholeFrom(least: number): (text: string) => number {
  return (text) => {
    if (!/^\d{1,12}$/.test(text) || Number(text) < least)
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most.toLocaleString('en')}.`);
    return Number(text);
  };
}

type Simulation = Awaited<ReturnType<Awaited<ReturnType<CliContext['io']['loadApps']>>['loadSimulation']>>;
type Plan = Parameters<Simulation['tellSimulation']>[0];

/** What is being simulated, and how it is left. */
interface Session {
  readonly context: CliContext;
  readonly simulation: Simulation;
  readonly options: SimOptions;
  readonly signal: AbortSignal;
}

/** `nexus sim`: needs no server, no configuration and no database. */
async function sim(context: CliContext, options: SimOptions): Promise<number> {
  const isOne = options.seed !== undefined || options.plan !== undefined;
  if (options.trace === true && !isOne) throw new UsageError('--trace shows one simulation: name it with --seed or --plan');
  const simulation = await (await context.io.loadApps()).loadSimulation();
  const stop = new AbortController();
  const interrupts = handleInterrupts(context.io, () => {
    context.note('stopping after this simulation; press Ctrl-C again to leave at once');
    stop.abort();
  });
  const session = { context, simulation, options, signal: stop.signal };
  try {
    const code = await (isOne ? simulateOne(session) : simulateMany(session));
    return interrupts.interrupted ? exitCodes.interrupted : code;
  } finally {
    interrupts.stop();
  }
}

async function simulateOne(session: Session): Promise<number> {
  const { context, simulation, options } = session;
  if (options.plan !== undefined) return tell(session, await readPlan(session, options.plan));
  const seed = String(options.seed);
  const plan = simulation.makePlan(seed);
  const shrinks = options.shrink && options.trace !== true && context.options.json !== true;
  const code = await tell(session, plan, { planned: !shrinks });
  if (code !== exitCodes.ok && shrinks) await tellSmallest(session, seed);
  return code;
}

async function simulateMany(session: Session): Promise<number> {
  const { context, simulation, options, signal } = session;
  const { from, seeds, jobs } = options;
  const cpu = process.cpuUsage();
  const note = sparing(context);
  let told = 0;
  const sum = await simulation.runCampaign({
    ...{ from, count: seeds, jobs, twice: options.twice === true, signal },
    onProgress({ simulations, failures }) {
      // At once, and not with the others: there may be an hour to go.
      for (; told < failures.length; told++) context.note(`seed ${failures[told]?.seed} failed: ${failures[told]?.violation}`);
      note(() => `${simulations} of ${seeds} simulations, ${failures.length} failed`);
    },
  });
  const { user, system } = process.cpuUsage(cpu);
  const cpuSeconds = (user + system) / 1_000_000;
  const virtualSeconds = sum.virtualMs / 1_000;
  const [first] = sum.failures;
  const interrupted = sum.simulations < seeds;
  const shrinks = options.shrink && context.options.json !== true && !signal.aborted;
  context.print({ ...sum, from, cpuSeconds, interrupted }, () =>
    [
      ...sum.failures.map(({ seed, violation }) => `${context.out('red', '✗')} seed ${seed}: ${violation}`),
      `${count(sum.simulations, 'simulation')} from seed ${from}: ${sum.runs} runs, ${sum.commits} commits, ${sum.faults} faults, ${sum.events} events`,
      `${Math.round(virtualSeconds)} virtual seconds in ${cpuSeconds.toFixed(1)} s of CPU (${Math.round(virtualSeconds / cpuSeconds)} per second)`,
      ...(interrupted ? [`interrupted: ${sum.simulations} of ${seeds} were simulated`] : []),
      first === undefined
        ? `${interrupted ? 'of these' : context.out('green', '✓')} nothing failed${options.twice === true ? ', and all were the same twice' : ''}`
        : `${context.out('red', '✗')} ${sum.failures.length} failed${shrinks ? '' : `; to see one: nexus sim --seed ${first.seed} --trace`}`,
    ].join('\n'),
  );
  if (first === undefined) return exitCodes.ok;
  if (shrinks) await tellSmallest(session, first.seed);
  return exitCodes.failure;
}

/** What is left when it is interrupted is the least that was found until then. */
async function tellSmallest(session: Session, seed: string): Promise<void> {
  const { context, simulation, options, signal } = session;
  context.note(`looking for the least that fails as seed ${seed} does; Ctrl-C shows what was found until then`);
  const whole = simulation.makePlan(seed);
  const note = sparing(context);
  const smallest = await simulation.smallestFailure(whole, {
    ...{ twice: options.twice === true, signal },
    onProgress: ({ tries, smallest: { faults, sessions } }) =>
      note(
        () =>
          `${tries} smaller ones tried, ${faults.length} of ${count(whole.faults.length, 'fault')} and ${sessions.length} of ${count(whole.sessions.length, 'session')} left`,
      ),
  });
  await tell({ ...session, options: { ...options, trace: true } }, smallest);
}

async function tell({ context, simulation, options }: Session, plan: Plan, { planned = true } = {}): Promise<number> {
  const { outcome, timeline } = await simulation.tellSimulation(plan, { twice: options.twice === true });
  const { lines, ...rest } = outcome;
  const same = options.twice === true ? ', and it was the same twice' : '';
  const verdict =
    outcome.violation === null ? `${context.out('green', '✓')} nothing failed${same}` : `${context.out('red', '✗')} ${outcome.violation}`;
  context.print(options.trace === true ? { ...rest, lines, plan } : { ...rest, plan }, () =>
    [
      ...(options.trace === true ? [timeline, ''] : []),
      `seed ${plan.seed}: ${verdict}`,
      `${outcome.runs} runs, ${outcome.commits} commits, ${count(plan.faults.length, 'fault')}, ${outcome.events} events, ${Math.round(outcome.virtualMs / 1_000)} virtual seconds`,
      `digest ${outcome.digest}`,
      ...(outcome.violation === null || !planned
        ? []
        : ['', 'to see it again, with this in a file: nexus sim --plan <file> --trace', JSON.stringify(plan)]),
    ].join('\n'),
  );
  return outcome.violation === null ? exitCodes.ok : exitCodes.failure;
}

/** A line of progress, now and then. */
function sparing(context: CliContext): (text: () => string) => void {
  let toldMs = performance.now();
  return (text) => {
    if (performance.now() - toldMs < toldEveryMs) return;
    toldMs = performance.now();
    context.note(text());
  };
}

async function readPlan({ context: { io }, simulation }: Session, path: string): Promise<Plan> {
  const text = await io.readFile(path);
  if (text === null) throw new UsageError(`there is no file ${path}`);
  try {
    return simulation.parsePlan(text);
  } catch (error) {
    throw new UsageError(`${path}: ${error instanceof Error ? error.message : error}`);
  }
}
