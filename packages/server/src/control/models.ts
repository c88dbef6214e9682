import type { ModelInfo } from '@nexus-agent/protocol';
import type { Principal } from '#identity';
import type { ModelService, ModelTarget } from '#llm';

/** The models that configured providers serve. */
export interface Models {
  list(principal: Principal): Promise<readonly ModelInfo[]>;
}

export function createModels({ llm }: { readonly llm: Pick<ModelService, 'list'> }): Models {
  return { list: async () => (await llm.list()).map(modelView) };
}

function modelView(target: ModelTarget): ModelInfo {
  const { price } = target;
  return {
    id: `${target.provider}/${target.model}`,
    provider: target.provider,
    contextTokens: target.contextTokens,
    simulator: target.simulator,
    ...(price === null
      ? {}
      : { price: { inputMicroUsdPerMillion: price.inputMicroUsdPerMillion, outputMicroUsdPerMillion: price.outputMicroUsdPerMillion } }),
  };
}
