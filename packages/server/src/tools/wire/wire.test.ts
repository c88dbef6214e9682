import { describeToolService } from '../../../../../test/conformance/tools.ts';
import { createTestToolService } from '../testing/index.ts';
import { callTools, clientTls, serverTls, serveTools } from './testing/index.ts';

for (const [name, tls] of [
  ['over gRPC with a token', {}],
  ['over gRPC with mutual TLS', { server: { tls: serverTls, token: undefined }, client: { tls: clientTls, token: undefined } }],
] as const)
  describeToolService(`${name} [verifies tools.wire.conformance]`, {
    async create({ tools, ...options }) {
      const service = createTestToolService(tools, options);
      const server = await serveTools(service, 'server' in tls ? tls.server : {});
      const remote = callTools(server.port, 'client' in tls ? tls.client : {});
      return {
        ...remote,
        async close() {
          await remote.close();
          await server.close(0);
          await service.close();
        },
      };
    },
  });
