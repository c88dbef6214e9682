import { NexusError } from '#core';
import { refusedFile, type ToolContext } from '#tools/contract';
import { compareSurveys, type Survey, surveyFolder } from '#tools/files';
import type { JailRequest } from '#tools/sandbox';

const maxVisited = 200_000;
/** Of a folder with more files policies are not asked about each. */
const maxAsked = 2_000;

/**
 * A program reaches every file of its folder, whatever its arguments name, so each is a question before it starts. Those that policy refuses
 * are covered: the program cannot open them. Nothing is asked where no policy speaks of files.
 */
export async function coveredFiles(context: ToolContext, survey: Survey): Promise<NonNullable<JailRequest['readOnly']>> {
  const covered: { path: string; at: string }[] = [];
  let asked = 0;
  for (const path of survey.files.keys()) {
    asked += 1;
    if (asked > maxAsked)
      throw new NexusError(
        'policy_denied',
        `policies speak of files, and the session has more than ${maxAsked}: too many to ask about each before a program starts`,
      );
    const verdict = await context.authorize({ action: 'file.read', resource: path });
    if (verdict.allowed && verdict.always === true) return [];
    if (!verdict.allowed) covered.push({ path: '/dev/null', at: `/workspace/${path}` });
  }
  return covered;
}

export async function lookAtFiles({ workspace }: ToolContext): Promise<Survey> {
  return surveyFolder(workspace, maxVisited);
}

/** Asks about each file that the program wrote or removed. Throws `policy_denied`: then the call fails, and its files are as they were. */
export async function requireWritten(context: ToolContext, before: Survey): Promise<void> {
  const { touched, gone } = compareSurveys(before, await lookAtFiles(context), Number.POSITIVE_INFINITY);
  for (const path of [...touched, ...gone]) {
    const verdict = await context.authorize({ action: 'file.write', resource: path });
    if (!verdict.allowed) throw refusedFile(path, verdict.error);
    if (verdict.always === true) return;
  }
}
