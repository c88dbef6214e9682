import { describe, expect, it } from 'vitest';
import { providerError } from './provider-error.ts';

const of = (body: unknown, status: number | undefined = 400) =>
  providerError({ provider: 'p', model: 'm', body, ...(status === undefined ? {} : { status }) });
const openAi = (message: string, more: Record<string, unknown> = {}) => ({ error: { message, type: 'invalid_request_error', ...more } });
const anthropic = (message: string, type = 'invalid_request_error') => ({ type: 'error', error: { type, message } });

describe('a refusal of a request that is too long', () => {
  it.each<[string, unknown, number | undefined, number | undefined]>([
    [
      'OpenAI',
      openAi(
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9011 tokens. Please reduce the length of the messages.",
        { code: 'context_length_exceeded' },
      ),
      8_192,
      9_011,
    ],
    [
      'OpenAI, with the answer',
      openAi(
        "This model's maximum context length is 16,385 tokens. However, you requested 17,000 tokens (12,904 in the messages, 4,096 in the completion).",
      ),
      16_385,
      17_000,
    ],
    [
      'OpenAI, without figures',
      openAi('Your input exceeds the context window of this model. Please adjust your input and try again.'),
      undefined,
      undefined,
    ],
    ['OpenAI, a single text', openAi("Invalid 'input': string too long.", { code: 'string_above_max_length' }), undefined, undefined],
    ['Anthropic', anthropic('prompt is too long: 210000 tokens > 200000 maximum'), 200_000, 210_000],
    [
      'Anthropic, with the answer',
      anthropic(
        'input length and `max_tokens` exceed context limit: 199726 + 20000 > 200000, decrease input length or `max_tokens` and try again',
      ),
      200_000,
      undefined,
    ],
    ['Anthropic, by size', anthropic('Request exceeds the maximum size', 'request_too_large'), undefined, undefined],
    ['Bedrock', { message: 'Input is too long for requested model.' }, undefined, undefined],
    [
      'vLLM',
      {
        object: 'error',
        message:
          "This model's maximum context length is 4096 tokens. However, you requested 5230 tokens in the messages, Please reduce the length of the messages.",
        type: 'BadRequestError',
        code: 400,
      },
      4_096,
      5_230,
    ],
    [
      'vLLM, the answer',
      {
        error: {
          message:
            "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096 tokens and your request has 150 input tokens (4096 > 4096 - 150).",
          code: 400,
        },
      },
      4_096,
      undefined,
    ],
    [
      'vLLM, the engine',
      {
        error: {
          message:
            'The decoder prompt (length 5230) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens.',
        },
      },
      4_096,
      5_230,
    ],
    [
      'llama.cpp',
      {
        error: {
          code: 400,
          message: 'the request exceeds the available context size. try increasing the context size or enable context shift',
          type: 'exceed_context_size_error',
          n_prompt_tokens: 5_230,
          n_ctx: 4_096,
        },
      },
      4_096,
      5_230,
    ],
    [
      'llama.cpp, in words',
      {
        error: {
          code: 400,
          message: 'request (5230 tokens) exceeds the available context size (4096 tokens), try increasing it',
          type: 'invalid_request_error',
        },
      },
      4_096,
      5_230,
    ],
    ['Ollama', { error: 'the input length exceeds the context length' }, undefined, undefined],
    ['Ollama, newer', openAi('prompt too long; exceeded max context length by 1201 tokens'), undefined, undefined],
    [
      'LM Studio',
      {
        error:
          'Trying to keep the first 5230 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough.',
      },
      4_096,
      5_230,
    ],
    [
      'LM Studio, to keep',
      {
        error:
          'The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length, or provide a shorter input',
      },
      undefined,
      undefined,
    ],
    ['Groq', openAi('Please reduce the length of the messages or completion.', { code: 'context_length_exceeded' }), undefined, undefined],
    [
      'Cerebras',
      openAi('Please reduce the length of the messages or completion. Current length is 9011 while limit is 8192'),
      8_192,
      9_011,
    ],
    [
      'Mistral',
      {
        object: 'error',
        message: 'Prompt contains 40123 tokens and 0 draft tokens, too large for model with 32768 maximum context length',
        type: 'invalid_request_error',
        code: 3051,
      },
      32_768,
      40_123,
    ],
    [
      'Gemini',
      [
        {
          error: {
            code: 400,
            message: 'The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).',
            status: 'INVALID_ARGUMENT',
          },
        },
      ],
      1_048_576,
      1_200_000,
    ],
    [
      'Vertex',
      {
        error: {
          code: 400,
          message:
            'Unable to submit request because the input token count is 40000 but model only supports up to 32768. Reduce the input token count and try again.',
        },
      },
      32_768,
      40_000,
    ],
    [
      'xAI',
      {
        code: 'Client specified an invalid argument',
        error: "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
      },
      131_072,
      140_000,
    ],
    [
      'OpenRouter',
      openAi(
        "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens (39000 of text input, 1000 in the output).",
      ),
      32_768,
      40_000,
    ],
    [
      'TGI, Together',
      openAi(
        'Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 `inputs` tokens and 512 `max_new_tokens`',
      ),
      4_097,
      5_000,
    ],
    [
      'TGI, the input',
      { error: 'Input validation error: `inputs` must have less than 1000 tokens. Given: 1400', error_type: 'validation' },
      1_000,
      1_400,
    ],
    [
      'Cohere',
      { message: 'too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000. Try using a shorter prompt.' },
      4_081,
      5_000,
    ],
    ['Moonshot', openAi('Invalid request: Your request exceeded model token limit: 8192 (requested: 9011)'), 8_192, 9_011],
    [
      'GitHub',
      openAi('prompt token count of 130000 exceeds the limit of 128000', { code: 'model_max_prompt_tokens_exceeded' }),
      128_000,
      130_000,
    ],
    [
      'SGLang',
      { object: 'error', message: "The input (5230 tokens) is longer than the model's context length (4096 tokens)." },
      4_096,
      5_230,
    ],
    ['Fireworks', openAi('The prompt is too long: 5230, model maximum context length: 4095'), 4_095, 5_230],
    [
      'SambaNova',
      {
        error: {
          message:
            'The provided prompt is 5000 tokens long, so generating 1 tokens requires a sequence length of 5001, but the maximum supported sequence length is just 4096!',
        },
      },
      4_096,
      5_001,
    ],
    ['TensorRT-LLM', { message: 'Prompt length (5230) exceeds maximum input length (4096).' }, 4_096, 5_230],
    ['DashScope', openAi('Range of input length should be [1, 6000]', { code: 'invalid_parameter_error' }), 6_000, undefined],
    ['MiniMax', openAi('invalid params, context window exceeds limit'), undefined, undefined],
    [
      'OpenAI, too many messages',
      openAi("Invalid 'messages': array too long. Expected an array with maximum length 2048, but got an array with length 2050 instead.", {
        code: 'array_above_max_length',
      }),
      undefined,
      undefined,
    ],
    ['llama-cpp-python', openAi('Requested tokens (5230) exceed context window of 4096'), 4_096, 5_230],
    [
      'Cloudflare',
      openAi('The estimated number of input and maximum output tokens (34000) exceeded this model context window limit (32000).'),
      32_000,
      34_000,
    ],
    ['watsonx', openAi('the number of input tokens 5230 cannot exceed the total tokens limit 4096 for this model'), 4_096, 5_230],
    ['Volcengine', openAi('Input length 100000 exceeds the maximum length 98304.'), 98_304, 100_000],
    ['Volcengine, images', openAi('Total tokens of image and text exceed max message tokens.'), undefined, undefined],
    ['SiliconFlow', openAi('length of prompt_tokens (5230) must be less than max_seq_len (4096).'), 4_096, 5_230],
    ['Together', openAi('The input (5230 tokens) exceeds the maximum allowed input length of 4096 tokens.'), 4_096, 5_230],
    ['a gateway', openAi('Your prompt contains 5230 tokens, which exceeds the 4096 token limit'), 4_096, 5_230],
    ['another gateway', openAi('The prompt (total 5230 tokens) exceeds the model limit of 4096 tokens'), 4_096, 5_230],
    ['a short-spoken one', openAi('Input too long: 5230 tokens, limit 4096'), 4_096, 5_230],
    ['StepFun', openAi('The total length of the prompt and completion is too long: 5230 > 4096'), 4_096, 5_230],
    ['a local server', openAi('prompt token length (5230) + max_tokens (1000) > max context (4096)'), 4_096, 5_230],
    ['another local server', openAi('requested 5230 tokens but the max is 4096 (n_ctx)'), 4_096, 5_230],
    ['Z.ai', { error: { code: '1261', message: 'Prompt exceeds max length' } }, undefined, undefined],
  ])('is understood in the words of %s', (_who, body, contextTokens, requestTokens) => {
    const error = of(body);
    expect(error.code).toBe('context_overflow');
    expect({ contextTokens: error.details?.contextTokens, requestTokens: error.details?.requestTokens }).toEqual({
      contextTokens,
      requestTokens,
    });
    expect(of(body, undefined).code).toBe('context_overflow'); // in the middle of a stream
  });

  it('is one of a size that cannot pass at any rate, too', () => {
    const message =
      'Request too large for model `m` in organization `o` on tokens per minute (TPM): Limit 6000, Requested 9011, please reduce your message size and try again.';
    for (const status of [413, 429]) {
      expect(of(openAi(message, { type: 'tokens', code: 'rate_limit_exceeded' }), status)).toMatchObject({
        code: 'context_overflow',
        details: { contextTokens: 6_000, requestTokens: 9_011 },
      });
    }
  });

  it.each<[string, unknown, number, string]>([
    [
      'too long an answer (Groq)',
      openAi(
        '`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model',
      ),
      400,
      'provider_rejected',
    ],
    [
      'too long an answer (OpenAI)',
      openAi('max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.'),
      400,
      'provider_rejected',
    ],
    [
      'too long an answer (Anthropic)',
      anthropic('max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens for m'),
      400,
      'provider_rejected',
    ],
    [
      'too much of late',
      openAi('Rate limit reached for m on tokens per min (TPM): Limit 6000, Used 5800, Requested 900. Please try again in 7s.'),
      429,
      'provider_rate_limited',
    ],
    [
      'too long a description',
      openAi("Invalid 'tools[2].function.description': string too long. Expected a string with maximum length 1024.", {
        code: 'string_above_max_length',
      }),
      400,
      'provider_rejected',
    ],
    [
      'too long an answer (Bedrock)',
      openAi(
        'The maximum tokens you requested exceeds the model limit of 2048. Try again with a maximum tokens value that is lower than 2048.',
      ),
      400,
      'provider_rejected',
    ],
    [
      'an image that is too large',
      anthropic('messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 5326788 bytes > 5242880 bytes'),
      400,
      'provider_rejected',
    ],
    ['something else', openAi("Unknown parameter: 'context'."), 400, 'provider_rejected'],
    ['a key', openAi('This key has no access to the long context window'), 401, 'provider_auth'],
  ])('is not read into one of %s', (_what, body, status, code) => {
    expect(of(body, status).code).toBe(code);
  });
});
