import type { Bus } from '#bus';
import type { ToolSource, WorkerDesk } from '#tools/contract';
import type { SourceHeads } from '../followed-sources.ts';
import { Desk, type DeskParts } from './desk.ts';
import { openNews } from './news.ts';
import { createWaitingCalls } from './waiting.ts';
import { createWorkerSource } from './worker-source.ts';

export interface WorkersOptions extends Omit<DeskParts, 'news' | 'waiting'> {
  readonly bus: Bus;
  readonly heads: SourceHeads;
}

/** Tools that processes of other people serve: where their calls come from, and where the workers are connected. */
export function createWorkers({ bus, ...options }: WorkersOptions): { readonly source: ToolSource; readonly desk: WorkerDesk } {
  const news = openNews(bus);
  const waiting = createWaitingCalls(options);
  const parts = { ...options, news, waiting };
  const desk = new Desk(parts);
  return {
    source: createWorkerSource(parts, options.heads),
    desk: {
      connect: (...given) => desk.connect(...given),
      report: (...given) => desk.report(...given),
      async close() {
        await desk.close();
        await waiting.close();
      },
    },
  };
}
