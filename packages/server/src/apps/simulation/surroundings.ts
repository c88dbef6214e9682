import type { runsConfig } from '#runs/config';
import type { Quotas } from '#storage';
import type { Driver } from '#storage/drivers';
import type { Contents } from './contents.ts';
import type { StoreWeather } from './faulty-store.ts';
import type { ModelServers } from './models.ts';
import type { PolicyFolder } from './policies.ts';
import type { OutsideWorld } from './tools.ts';
import type { Wires } from './wires.ts';
import type { World } from './world.ts';

type RunSettings = ReturnType<typeof runsConfig.runs.parse>;

/** How long what is kept, in milliseconds of the database's clock. */
export interface RetentionTimes {
  /** A session in which nothing happens; 0: for ever. */
  readonly sessionsMs: number;
  /** What no file has any more. */
  readonly contentsMs: number;
  /** What readers of a deleted run have to read its end. */
  readonly readersMs: number;
}

/** What all nodes of a cluster share. */
export interface Surroundings {
  readonly world: World;
  readonly epochMs: number;
  /** By how much the clock of the database was set since the world began. */
  readonly leapt: { byMs: number };
  readonly database: Driver;
  readonly weather: StoreWeather;
  readonly wires: Wires;
  readonly models: ModelServers;
  readonly outside: OutsideWorld;
  readonly contents: Contents;
  readonly policies: PolicyFolder;
  readonly quotas: Quotas;
  readonly retention: RetentionTimes;
  readonly settings: RunSettings;
  /** So many times as long as usual takes what is done now and then. */
  readonly pace: number;
  readonly onCommit: () => Promise<void>;
}
