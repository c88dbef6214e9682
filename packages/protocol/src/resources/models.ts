import { z } from 'zod';

export const ModelInfo = z
  .object({
    id: z.string(),
    provider: z.string(),
    contextTokens: z.int(),
    simulator: z.boolean(),
    price: z.object({ inputMicroUsdPerMillion: z.int(), outputMicroUsdPerMillion: z.int() }).optional(),
  })
  .meta({ id: 'ModelInfo' });
export type ModelInfo = z.infer<typeof ModelInfo>;
