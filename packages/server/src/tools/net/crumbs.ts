import type { Dispatcher } from 'undici';
import { NexusError } from '#core';

/** What a server may say before its answer: `100 Continue`, early hints. */
const maxInterimAnswers = 32;
/** Pieces of a body of less than a word: a server that writes what it makes as it makes it sends some thousands, and each takes its time. */
const crumbBytes = 8;
const maxCrumbs = 20_000;

/** Gives up answers that only ever begin, or come in nothing but crumbs. */
export const withoutCrumbs: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) =>
  dispatch(options, givingUp(handler));

function givingUp(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
  let interims = 0;
  let crumbs = 0;
  const giveUp = (controller: Dispatcher.DispatchController, how: string) =>
    controller.abort(new NexusError('tool_failed', `the server sent an answer ${how}, which is given up`));
  return {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onRequestUpgrade: (controller, ...rest) => handler.onRequestUpgrade?.(controller, ...rest),
    onResponseStart(controller, status, ...rest) {
      if (status < 200) interims += 1;
      if (interims > maxInterimAnswers) giveUp(controller, 'that only ever begins');
      else handler.onResponseStart?.(controller, status, ...rest);
    },
    onResponseData(controller, chunk) {
      if (chunk.length < crumbBytes) crumbs += 1;
      if (crumbs > maxCrumbs) giveUp(controller, 'in pieces that are too small');
      else handler.onResponseData?.(controller, chunk);
    },
    onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
    onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
  };
}
