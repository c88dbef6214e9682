import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson, NexusError, sha256 } from '#core';
import type { PluginManifest } from './manifest.ts';

/** Beside the manifest: who says so. The key is the raw Ed25519 key in base64. */
const Signature = z.strictObject({ publicKey: z.string().max(100), signature: z.string().max(200) });
type Signature = z.infer<typeof Signature>;

const maxSignatureChars = 2_000;
const publicKeyText = /^[A-Za-z0-9+/]{43}=$/;
/** What stands before the 32 bytes of an Ed25519 key in its usual form. */
const keyPrefix = Buffer.from('302a300506032b6570032100', 'hex');

/** What is signed: all that the manifest says, and with the hashes of the files all that the plugin is. */
function signedBytes(manifest: PluginManifest): Buffer {
  return Buffer.from(`nexus-plugin-v1\n${canonicalJson(manifest)}`);
}

/** Names everything that a plugin is. What was shown under it is what is installed. */
export function digestOf(manifest: PluginManifest): string {
  return sha256(signedBytes(manifest).toString('utf8'));
}

function isPublicKey(text: string): boolean {
  return publicKeyText.test(text);
}

function publicKeyOf(key: KeyObject): string {
  return createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(keyPrefix.length).toString('base64');
}

/** A new key to sign with, as PEM, and what others know it by. */
export function createSigningKey(): { readonly privateKey: string; readonly publicKey: string } {
  const { privateKey } = generateKeyPairSync('ed25519');
  return { privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), publicKey: publicKeyOf(privateKey) };
}

/** The content of `plugin.sig`. Throws `config_invalid` for what is no Ed25519 key. */
export function signManifest(manifest: PluginManifest, privateKey: string): { readonly text: string; readonly publicKey: string } {
  let key: KeyObject;
  try {
    key = createPrivateKey(privateKey);
  } catch {
    throw new NexusError('config_invalid', 'the key cannot be read; give a private key as nexus plugin keygen writes it');
  }
  if (key.asymmetricKeyType !== 'ed25519')
    throw new NexusError('config_invalid', 'the key is no Ed25519 key; make one with nexus plugin keygen');
  const publicKey = publicKeyOf(key);
  const content: Signature = { publicKey, signature: sign(null, signedBytes(manifest), key).toString('base64') };
  return { text: `${JSON.stringify(content, null, 2)}\n`, publicKey };
}

/** Whose signature it is. Throws `invalid_request` for one that does not hold: then somebody changed something. */
export function verifySignature(manifest: PluginManifest, text: string): string {
  const broken = () =>
    new NexusError('invalid_request', 'the signature of the plugin does not hold: something was changed after it was signed');
  if (text.length > maxSignatureChars) throw broken();
  let parsed: ReturnType<typeof Signature.safeParse>;
  try {
    parsed = Signature.safeParse(JSON.parse(text));
  } catch {
    throw broken();
  }
  if (!parsed.success || !isPublicKey(parsed.data.publicKey)) throw broken();
  const { publicKey, signature } = parsed.data;
  const key = createPublicKey({ key: Buffer.concat([keyPrefix, Buffer.from(publicKey, 'base64')]), format: 'der', type: 'spki' });
  if (!verify(null, signedBytes(manifest), key, Buffer.from(signature, 'base64'))) throw broken();
  return publicKey;
}
