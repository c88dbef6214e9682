import { z } from 'zod';
import { group, httpUrl, setting } from '#core';

/** What belongs to the program as a whole. */
export const appConfig = {
  dataDir: setting(
    z.string().min(1).default('.nexus'),
    'Holds the embedded database, the files of sessions unless they are kept elsewhere, and by default the folders of agents and policies.',
    { environment: 'NEXUS_DATA_DIR' },
  ),
  stateHome: setting(
    z.string().min(1).optional(),
    'Where programs of this user keep what outlives them: a server on loopback puts the token of its local operator into the folder `nexus-agent` there, and the command line looks for it there.',
    { environment: 'XDG_STATE_HOME', otherwise: '`.local/state` in the home folder' },
  ),
  agentsDir: setting(z.string().min(1).optional(), 'Folder of agent definitions (YAML).', {
    environment: 'NEXUS_AGENTS_DIR',
    otherwise: '`agents` in `dataDir`',
  }),
  tls: group({
    ca: setting(
      z
        .union([
          z
            .string()
            .min(1)
            .transform((path) => [path]),
          z.array(z.string().min(1)),
        ])
        .default([]),
      'Files (PEM) with certificates of authorities that are trusted besides the usual ones: for providers, proxies and databases behind an authority of your own. What `NODE_EXTRA_CA_CERTS` names is trusted, too.',
    ),
  }),
};

/** Of the command line, not of the server. */
export const clientConfig = {
  client: group({
    url: setting(httpUrl().optional(), 'The server that the command line talks to.', {
      environment: 'NEXUS_URL',
      otherwise: 'the address that `host` and `port` mean on this machine',
    }),
    apiKey: setting(z.string().min(1).optional(), 'Key that the command line presents.', { environment: 'NEXUS_API_KEY', secret: true }),
  }),
};
