import { createToolCatalogue } from '#tools/catalogue';
import type { ToolService, ToolSource } from '#tools/contract';
import { createToolExecution, type ToolExecutionOptions } from '#tools/execution';

export interface ToolServiceOptions extends Omit<ToolExecutionOptions, 'catalogue'> {
  /** The tools of all of them, in this order. */
  readonly sources: readonly ToolSource[];
  /** Hears which tools of a tenant were left out of its list, and why. */
  readonly onLeftOut?: (tenantId: string, faults: readonly string[]) => void;
}

/** The tool service in this process. */
export function createToolService({ sources, onLeftOut, ...options }: ToolServiceOptions): ToolService {
  const catalogue = createToolCatalogue({ sources, ...(onLeftOut === undefined ? {} : { onLeftOut }) });
  return {
    list: async (tenantId) => (await catalogue.load(tenantId)).descriptors,
    ...createToolExecution({ ...options, catalogue }),
  };
}
