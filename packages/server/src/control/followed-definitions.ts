import type { DefinitionFolderState, DefinitionKind, DefinitionSet } from '@nexus-agent/protocol';
import { type Clock, canonicalJson, NexusError, sha256, type Timers, toTimestamp } from '#core';
import type { DefinitionFile, DefinitionHead, DefinitionStore } from '#storage';
import type { Logger } from '#telemetry';

/** An entry of a folder that is not read, and why. */
export interface UnreadEntry {
  readonly name: string;
  readonly why: string;
  /** It may well have been meant to be read. */
  readonly suspicious: boolean;
}

export interface FolderContent {
  readonly files: readonly DefinitionFile[];
  readonly unread: readonly UnreadEntry[];
}

/** Where a node's operator puts definitions: a source that is imported, and decides nothing by itself. */
export interface DefinitionFolder {
  readonly path: string;
  /** Differs whenever what lies in the folder has changed, links followed. Never rejects. */
  mark(): Promise<string>;
  /** Throws `config_invalid` for a folder that cannot be read as a whole. */
  read(): Promise<FolderContent>;
}

export interface DefinitionsOrigin {
  /** Where the files lie, for errors. */
  readonly place: string;
  /** They come from the database, where they were put by whichever version of this program took them. */
  readonly inForce: boolean;
}

export interface FollowedOptions {
  readonly kind: DefinitionKind;
  readonly folder: DefinitionFolder;
  /** Checks the files; what comes back puts them to use at once. */
  readonly prepare: (files: readonly DefinitionFile[], about: DefinitionsOrigin) => Promise<{ use(): void }>;
  readonly store: Pick<DefinitionStore, 'findDefinitions' | 'definitionFiles' | 'importDefinitions'>;
  readonly clock: Clock;
  readonly timers: Pick<Timers, 'sleep'>;
  readonly logger: Logger;
  /** Whether new files are imported without being asked; `own`: only where nothing is active yet, or what is came from this folder. */
  readonly importing: 'auto' | 'own' | 'manual';
  /** The machine, for people. */
  readonly machine: string;
  /** No other machine shares the database: if its active version came from this folder, what the folder holds at a start is newer. */
  readonly alone: boolean;
}

const maxChars = 16_000_000;
const readAttempts = 10;
const rereadMs = 25;

/** The hash of files, by which equal ones are recognised on every node. */
export function definitionsFingerprint(files: readonly DefinitionFile[]): string {
  return sha256(canonicalJson(files.map(({ name, text }) => [name, text]))).slice(0, 16);
}

/**
 * The definitions of one kind on this node: what its folder holds, which version is active in the database, and which one is in
 * use here. Methods are called one at a time.
 */
export class FollowedDefinitions {
  readonly #options: FollowedOptions;
  /** The active version, as far as this node knows. */
  #head: DefinitionHead | null = null;
  /** The version that was last put to use, or could not be. */
  #followed: number | null = null;
  #inUse: number | null = null;
  #count = 0;
  #fault: string | undefined;
  #folder: { state: DefinitionFolderState; version?: number; fault?: string; fingerprint: string | null } = {
    state: 'none',
    fingerprint: null,
  };
  #unread: readonly UnreadEntry[] = [];
  /** Of the folder as it was last read, and as it was last looked at. */
  #readMark: string | undefined;
  #seenMark: string | undefined;
  /** The version that the folder held when it was changed: a change of the active version is newer than it, whatever it says. */
  #inStepAt: number | null = null;
  /** What was last said to differ. */
  #told = '';

  constructor(options: FollowedOptions) {
    this.#options = options;
  }

  get #origin(): string {
    return `${this.#options.machine}:${this.#options.folder.path}`;
  }

  get inUse(): number | null {
    return this.#inUse;
  }

  /** How many files the definitions in use are. */
  get count(): number {
    return this.#count;
  }

  get fault(): string | undefined {
    return this.#fault;
  }

  get folderState(): DefinitionFolderState {
    return this.#folder.state;
  }

  /** Throws when neither the folder nor the active version can be used: a node does not start by fewer rules than there are. */
  async open(head: DefinitionHead | null): Promise<void> {
    const { kind, alone } = this.#options;
    this.#head = head;
    await this.#readAndOffer(alone && head?.origin === this.#origin ? head.version : null);
    if (this.#head !== null) await this.follow(this.#head);
    if (head !== null && this.#fault !== undefined) {
      throw new NexusError(
        'config_invalid',
        `version ${head.version} of the ${kind}, imported from ${head.origin}, cannot be used: ${this.#fault}`,
      );
    }
  }

  /** Looks at the folder. What has changed is read once it rests: files are written one after the other. */
  async scan(): Promise<void> {
    const mark = await this.#options.folder.mark();
    const settled = mark === this.#seenMark;
    this.#seenMark = mark;
    if (settled && mark !== this.#readMark) await this.reread();
  }

  /** Reads the folder now, and takes a change of it over. A fault is kept for `view` and said in the log. */
  async reread(): Promise<void> {
    try {
      await this.#readAndOffer(this.#inStepAt);
    } catch (error) {
      if (!isFaultOfFiles(error)) throw error;
      this.#break(error);
    }
  }

  /** Makes what lies in the folder the active version, whatever there was before. */
  async import({ allowEmpty }: { readonly allowEmpty: boolean }): Promise<void> {
    const { kind, folder } = this.#options;
    try {
      await this.#readAndOffer('always', (files) => {
        if (files.length > 0 || allowEmpty) return;
        throw new NexusError('conflict', `${folder.path} holds no ${kind}; to have none, say so: --allow-empty (allowEmpty)`);
      });
    } catch (error) {
      if (!isFaultOfFiles(error)) throw error;
      this.#break(error);
      throw new NexusError('conflict', error.message, { cause: error });
    }
  }

  /** Puts the active version to use, where it is not the one in use. */
  async follow(head: DefinitionHead): Promise<void> {
    const { kind, store, logger } = this.#options;
    if (head.version === this.#followed) return;
    if (head.version !== this.#inUse) {
      const files = await store.definitionFiles(kind, head.version);
      if (files === null) return; // there are far newer ones by now
      try {
        (await this.#prepare(files, { place: `version ${head.version}`, inForce: true })).use();
      } catch (error) {
        this.#head = head;
        this.#followed = head.version;
        this.#fault = (error as NexusError).message; // see #prepare
        const lines = { kind, version: head.version, from: head.origin, inUse: this.#inUse, why: this.#fault };
        logger.error(lines, 'the active definitions cannot be used by this node; earlier ones stay in use');
        return;
      }
      this.#use(head, files);
      logger.info({ kind, version: head.version, from: head.origin }, 'definitions are in use');
    }
    this.#head = head;
    this.#followed = head.version;
    if (this.#folder.fingerprint !== head.fingerprint) this.#inStepAt = null;
    await this.#judgeFolder();
  }

  view(): DefinitionSet {
    const { kind, folder } = this.#options;
    const { state, version, fault } = this.#folder;
    const head = this.#head;
    return {
      kind,
      active:
        head === null
          ? null
          : { version: head.version, fingerprint: head.fingerprint, importedAt: toTimestamp(head.importedAt), origin: head.origin },
      inUse: this.#inUse,
      ...(this.#fault === undefined ? {} : { fault: this.#fault }),
      folder: {
        path: folder.path,
        state,
        ...(version === undefined ? {} : { version }),
        ...(fault === undefined ? {} : { fault }),
        unread: this.#unread.map(({ name, why }) => ({ name, why })),
      },
    };
  }

  async #readAndOffer(again: number | 'always' | null, check: (files: readonly DefinitionFile[]) => void = () => undefined): Promise<void> {
    const { kind, folder, store, clock, logger, importing } = this.#options;
    const { mark, files, unread } = await this.#readWhole();
    check(files);
    this.#tellUnread(unread);
    const fingerprint = definitionsFingerprint(files);
    if (files.length === 0 && again !== 'always' && this.#head?.fingerprint !== fingerprint) {
      this.#readMark = mark;
      this.#folder = { state: 'none', fingerprint: null };
      if (this.#head !== null)
        logger.warn({ kind, folder: folder.path, inUse: this.#inUse }, 'the folder holds no definitions; the ones in use stay');
      return;
    }
    const prepared = await this.#prepare(files, { place: folder.path, inForce: false });
    const isOwn = this.#head === null || this.#head.origin === this.#origin;
    if (importing === 'auto' || (importing === 'own' && isOwn) || again === 'always') {
      const origin = this.#origin;
      const result = await store.importDefinitions({ kind, fingerprint, files, origin, importedAt: clock.now(), again });
      this.#head = result.head;
      if (result.type === 'imported') logger.info({ kind, version: result.head.version, from: origin }, 'definitions were imported');
      if (result.type !== 'known') {
        if (this.#inUse !== result.head.version) prepared.use();
        this.#use(result.head, files);
      }
    }
    this.#readMark = mark;
    this.#folder = { state: 'never-imported', fingerprint };
    await this.#judgeFolder();
  }

  async #prepare(files: readonly DefinitionFile[], about: DefinitionsOrigin): Promise<{ use(): void }> {
    try {
      return await this.#options.prepare(files, about);
    } catch (cause) {
      throw new NexusError('config_invalid', cause instanceof Error ? cause.message : 'they cannot be used', { cause });
    }
  }

  #use(head: DefinitionHead, files: readonly DefinitionFile[]): void {
    this.#inUse = head.version;
    this.#count = files.length;
    this.#followed = head.version;
    this.#fault = undefined;
  }

  /** As it was at one moment: nothing changed from before it was read until after. */
  async #readWhole(): Promise<FolderContent & { readonly mark: string }> {
    const { folder, timers } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const mark = await folder.mark();
      const content = await folder.read().catch((error: unknown) => ({ error }));
      const whole = mark === (await folder.mark());
      if (whole || attempt === readAttempts) {
        this.#seenMark = mark;
        if ('error' in content) {
          this.#readMark = mark;
          throw content.error;
        }
        if (!whole) throw new NexusError('config_invalid', `${folder.path} changes all the time and cannot be read as a whole`);
        const chars = content.files.reduce((sum, { text }) => sum + text.length, 0);
        if (chars > maxChars)
          throw new NexusError('config_invalid', `${folder.path} holds ${chars} characters, and at most ${maxChars} are imported`);
        return { mark, ...content };
      }
      await timers.sleep(rereadMs);
    }
  }

  /** Holds the folder against the active version. */
  async #judgeFolder(): Promise<void> {
    const { kind, folder, store, logger } = this.#options;
    const { fingerprint, fault } = this.#folder;
    if (fingerprint === null || fault !== undefined) return;
    if (this.#head?.fingerprint === fingerprint) {
      this.#folder = { state: 'active', version: this.#head.version, fingerprint };
      this.#inStepAt = this.#head.version;
      return;
    }
    const known = await store.findDefinitions(kind, fingerprint);
    this.#folder = known === null ? { state: 'never-imported', fingerprint } : { state: 'earlier', version: known.version, fingerprint };
    const told = `${fingerprint} ${this.#head?.version}`;
    if (told === this.#told) return;
    this.#told = told;
    const active = this.#head === null ? {} : { active: this.#head.version, from: this.#head.origin };
    logger.warn(
      { kind, folder: folder.path, holds: known === null ? 'files that were never imported' : `version ${known.version}`, ...active },
      'the folder differs from the active definitions, by which this node decides',
    );
  }

  #break(error: NexusError): void {
    const { kind, folder, logger } = this.#options;
    this.#readMark = this.#seenMark;
    this.#folder = { state: 'broken', fault: error.message, fingerprint: null };
    logger.error(
      { kind, folder: folder.path, inUse: this.#inUse, why: error.message },
      'the definitions in the folder cannot be used; the ones in use stay',
    );
  }

  /** Says which files are not read: what is passed over without a word is missed only when it is needed. */
  #tellUnread(unread: readonly UnreadEntry[]): void {
    const { folder, logger } = this.#options;
    const before = this.#unread;
    this.#unread = unread;
    if (unread.length === 0 || canonicalJson(before) === canonicalJson(unread)) return;
    const files = unread.map(({ name, why }) => `${name}: ${why}`);
    const say = unread.some(({ suspicious }) => suspicious) ? 'warn' : 'info';
    logger[say]({ folder: folder.path, files }, 'not everything in the folder is read');
  }
}

/** All else, such as a database that does not answer, says nothing of the files: they are offered again at the next look. */
function isFaultOfFiles(error: unknown): error is NexusError {
  return error instanceof NexusError && error.code === 'config_invalid';
}
