import { NexusError, settlesWithin, type Timers } from '#core';
import type { DefinitionFolder } from './followed-definitions.ts';

/** No setting: a folder that is slower than this is taken for one that does not answer. */
const patienceMs = 5_000;

/**
 * The same folder, except that no answer is waited for without end, as a network file system may never give one: it then cannot be read.
 * It is not asked again before it has answered, so that it holds up no more than one thing at a time.
 */
export function patientFolder(folder: DefinitionFolder, timers: Pick<Timers, 'after'>): DefinitionFolder {
  let silent = false;

  async function ask<T>(question: () => Promise<T>): Promise<T> {
    if (!silent) {
      const answer = question();
      if (await settlesWithin(timers, answer, patienceMs)) return answer;
      silent = true;
      const hear = () => {
        silent = false;
      };
      answer.then(hear, hear);
    }
    throw new NexusError('config_invalid', `${folder.path} does not answer; see to the file system that it lies on`);
  }

  return {
    path: folder.path,
    mark: () => ask(() => folder.mark()).catch(() => 'no answer'), // `mark` itself never rejects
    read: () => ask(() => folder.read()),
  };
}
