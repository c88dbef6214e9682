import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import type { NexusConfig } from '#apps/config';
import { NexusError } from '#core';

/**
 * Trusts the authorities of the configured files, for every connection that this process makes from now on, besides those that it
 * trusts already. Throws `config_invalid`, naming the file, for one that holds no certificates.
 */
export async function trustAuthorities({ tls }: Pick<NexusConfig, 'tls'>): Promise<void> {
  if (tls.ca.length === 0) return;
  const own = await Promise.all(tls.ca.map(readAuthorities));
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...own.flat()])]);
}

const certificate = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

async function readAuthorities(path: string): Promise<readonly string[]> {
  const fail = (why: string, cause?: unknown) => new NexusError('config_invalid', `tls.ca: ${path} ${why}`, { cause });
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw fail(`cannot be read (${error.code ?? error.name}); expected a file of certificates in PEM`, error);
  });
  const found = text.match(certificate) ?? [];
  if (found.length === 0) throw fail('holds no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----');
  for (const pem of found) {
    try {
      new X509Certificate(pem);
    } catch (error) {
      throw fail('holds a certificate that cannot be read', error);
    }
  }
  return found;
}
