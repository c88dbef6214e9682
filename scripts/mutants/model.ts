import { type Mutant, server } from './mutant.ts';

/** Found by the reference model alone: the store, its rules and its journals are held against it, and no test knows the code that these are in. */
const tests = ['test/model/model.test.ts'];
const rules = `${server}/ledger/rules.ts`;
const queue = `${server}/storage/tables/queue.ts`;
const turns = `${server}/storage/tables/turns.ts`;
const reservations = `${server}/storage/tables/reservations.ts`;
const budgets = `${server}/storage/tables/budgets.ts`;
const sessionLog = `${server}/storage/commit/session-log.ts`;

export const modelMutants: readonly Mutant[] = [
  {
    bug: 'model: what others hold is granted again',
    file: rules,
    replace: 'const available = limit - row.spent - row.reserved;',
    by: 'const available = limit - row.spent;',
    tests,
  },
  {
    bug: 'model: a slow clock opens the window again that has ended',
    file: rules,
    replace: 'return period > row.period ? { ...row, period, spent: 0 } : row;',
    by: 'return period !== row.period ? { ...row, period, spent: 0 } : row;',
    tests,
  },
  {
    bug: 'model: a late correction gives back to the window after',
    file: rules,
    replace: 'return row !== undefined && row.period === periodAt(row.window, reservation.closedAt ?? draft.nowMs);',
    by: 'return row !== undefined;',
    tests,
  },
  {
    bug: 'model: nobody is held to the limit of every user',
    file: rules,
    replace: 'return inherited === true ? (draft.row(rowKey(everyUser, unit, window))?.limit ?? null) : limit;',
    by: 'return inherited === true ? null : limit;',
    tests,
  },
  {
    bug: 'model: whoever may wait is given less because others hold money',
    file: rules,
    replace: 'if (whole && scarce !== null && freeTokens > maxTokens) {',
    by: 'if (whole && scarce !== null && freeTokens > maxTokens + 1) {',
    tests,
  },
  {
    bug: 'model: a balance begins in a window before the one that the books have begun',
    file: `${server}/storage/commit/ledger.ts`,
    replace: 'if (day !== null) found.begun.ms = Math.max(found.begun.ms, Date.parse(day));',
    by: 'if (day === null) return;',
    tests,
  },
  {
    bug: 'model: how a reservation ended is not written',
    file: `${server}/storage/commit/ledger.ts`,
    replace: '[changed.filter(isOpen), changed.filter((reservation) => !isOpen(reservation))]',
    by: '[changed, changed.filter((reservation) => isOpen(reservation) && !isOpen(reservation))]',
    tests,
  },
  {
    bug: 'model: what a lost call can have used at most is not kept',
    file: reservations,
    replace: "['amounts', 'budget_rows', 'wall_until', 'bound']",
    by: "['amounts', 'budget_rows', 'wall_until']",
    tests,
  },
  {
    bug: 'model: what was charged is not kept',
    file: reservations,
    replace: "['state', 'amounts', 'charged', 'closed_at', 'budget_rows']",
    by: "['state', 'amounts', 'closed_at', 'budget_rows']",
    tests,
  },
  {
    bug: 'model: a balance is written without its window',
    file: budgets,
    replace: "['period', 'limit_amount', 'inherited', 'owned', 'spent', 'reserved'],\n    rows.map",
    by: "['limit_amount', 'inherited', 'owned', 'spent', 'reserved'],\n    rows.map",
    tests,
  },
  {
    bug: 'model: a run that is taken over keeps its epoch',
    file: queue,
    replace: "epoch: eb('epoch', '+', 1),",
    by: "epoch: eb.ref('epoch'),",
    tests,
  },
  {
    bug: 'model: news that come while a run works are lost',
    file: queue,
    replace: "woken: eb.case().when('status', '=', sql.lit('running')).then(1).else(0).end(),",
    by: 'woken: 0,',
    tests,
  },
  {
    bug: 'model: the last who asks a run to cancel says why',
    file: queue,
    replace: "    .where('cancel_requested', 'is', null),",
    by: '    .where((eb) => eb.lit(true)),',
    tests,
  },
  {
    bug: 'model: a run that is resumed is still asked to cancel',
    file: queue,
    replace: '      cancel_requested: null,\n',
    by: '',
    tests,
  },
  {
    bug: 'model: the first tenant is given all the places',
    file: turns,
    replace: 'const share = Math.max(1, Math.floor(room / waiting.length));',
    by: 'const share = room;',
    tests,
  },
  {
    bug: 'model: no tenant remembers whose turn it was',
    file: turns,
    replace: 'if (turn.length < waiting.length && last !== undefined) after = last;',
    by: "if (last === undefined) after = '';",
    tests,
  },
  {
    bug: 'model: whoever came last to a session goes next',
    file: sessionLog,
    replace: 'const next = open.find(isBehind);',
    by: 'const next = open.findLast(isBehind);',
    tests,
  },
  {
    bug: 'model: a run that was begun by a slow clock stands before those that it follows',
    file: sessionLog,
    replace: 'const createdAt = Math.max(createRun.createdAt, newest.createdAt + 1);',
    by: 'const createdAt = createRun.createdAt;',
    tests,
  },
  {
    bug: 'model: a run that waits for an agent goes on when its session is interrupted',
    file: sessionLog,
    replace: '  return run.parent_run_id === null && (sessions.isAtWork(run) || waitsForAgent(run));',
    by: '  return run.parent_run_id === null && sessions.isAtWork(run);',
    tests,
  },
  {
    bug: 'model: a session does not know of the agents that came with the same transaction',
    file: `${server}/storage/commit/create-run.ts`,
    replace: '        sessions.enter(row);\n',
    by: '',
    tests,
  },
  {
    bug: 'model: a run that was interrupted in the same transaction counts as at rest',
    file: `${server}/storage/commit/working-sessions.ts`,
    replace: ' || cancels.has(run.run_id);',
    by: ';',
    tests,
  },
  {
    bug: 'model: a run that got on is still counted the deaths of its workers',
    file: `${server}/storage/commit/events.ts`,
    replace: 'Object.assign(row, { deaths: 0, alone: 0 })',
    by: 'Object.assign(row, { alone: 0 })',
    tests,
  },
  {
    bug: 'model: a run that waits is told to go on',
    file: `${server}/runs/journal/transitions.ts`,
    replace: "return { ...state, status: 'waiting', waitingFor:",
    by: "return { ...state, status: 'running', waitingFor:",
    tests,
  },
  {
    bug: 'model: the next turn is not told of earlier ones that went on meanwhile',
    file: `${server}/runs/journal/session-log.ts`,
    replace: 'const turns = [...(await changedSince(tenantId, earlier)), ...news];',
    by: 'const turns = earlier.turns.length < 0 ? [] : [...news];',
    tests,
  },
  {
    bug: 'model: a turn that went on is told behind those that came after it',
    file: `${server}/runs/journal/log-view.ts`,
    replace: 'const at = turns.findLastIndex(({ turn }) => isBefore(turn.read, shown.turn.read)) + 1;',
    by: 'const at = isBefore(shown.turn.read, shown.turn.read) ? 0 : turns.length;',
    tests,
  },
];
