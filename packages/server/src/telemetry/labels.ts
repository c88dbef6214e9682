import { ErrorCode } from '@nexus-agent/protocol';

/** What stands for every value that is not of the set. */
export const otherValue = 'other';

/** The values that a label may have. Whatever comes from outside is one of them, or `other`. */
export interface LabelSet {
  /** The value itself where it is of the set. */
  of(value: string): string;
}

/** Values that are written down in the source. Empty: there is none to tell. */
export function closedSet(values: readonly string[]): LabelSet {
  const known: ReadonlySet<string> = new Set([...values, '']);
  return { of: (value) => (known.has(value) ? value : otherValue) };
}

/** Values that configuration names: `isKnown` tells them, and no more than `most` of them have series of their own. */
export function namedSet(isKnown: (name: string) => boolean, most = 100): LabelSet {
  const shown = new Set<string>();
  return {
    of(name) {
      if (!isKnown(name)) return otherValue;
      if (shown.has(name)) return name;
      if (shown.size >= most) return otherValue;
      shown.add(name);
      return name;
    },
  };
}

export const errorCodes = closedSet(ErrorCode.options);

/** As the conventions name them; every other word counts as one. */
export const httpMethods = closedSet(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Statuses are of the server's own making: a three-digit number, and no other. */
export const httpStatuses: LabelSet = { of: (status) => (/^[1-5]\d\d$/.test(status) ? status : otherValue) };

/** What is configured: the names that series may be told apart by. */
export interface ConfiguredNames {
  /** `provider/model`, as configuration has them and as servers list them. */
  models(): Promise<readonly { readonly provider: string; readonly model: string }[]>;
  tools(): Promise<readonly { readonly name: string }[]>;
}

/** Longer names are no names. */
const longestName = 200;
const mostKept = 2_000;

/** The names that are configured, as far as they are known by now. Until somebody says what is configured, every name counts as it. */
export function createKnownNames() {
  let source: ConfiguredNames | null = null;
  let asking = false;
  const providers = new Set<string>();
  const models = new Set<string>();
  const tools = new Set<string>();
  const keep = (into: Set<string>, name: string) => {
    if (name.length <= longestName && into.size < mostKept) into.add(name);
  };

  async function ask({ models: listModels, tools: listTools }: ConfiguredNames): Promise<void> {
    const [listed, offered] = await Promise.allSettled([listModels(), listTools()]);
    for (const { provider, model } of listed.status === 'fulfilled' ? listed.value : []) {
      keep(providers, provider);
      keep(models, model);
    }
    for (const { name } of offered.status === 'fulfilled' ? offered.value : []) keep(tools, name);
  }

  return {
    observe(names: ConfiguredNames, configured: readonly string[]): void {
      source = names;
      for (const ref of configured) {
        const slash = ref.indexOf('/');
        keep(models, ref.slice(slash + 1));
        if (slash > 0) keep(providers, ref.slice(0, slash));
      }
      this.refresh();
    },
    /** Asks again, in its own time. */
    refresh(): void {
      if (source === null || asking) return;
      asking = true;
      void ask(source).finally(() => {
        asking = false;
      });
    },
    isProvider: (name: string) => source === null || providers.has(name),
    isModel: (name: string) => source === null || models.has(name),
    isTool: (name: string) => source === null || tools.has(name),
  };
}

export type LabelNames = ReturnType<typeof createKnownNames>;
