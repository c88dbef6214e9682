import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

/** Seals texts so that only who has the key reads them, and only as what they were sealed for. */
export interface Seal {
  seal(text: string, purpose: readonly string[]): string;
  /** Null for what was sealed under another key or for another purpose, was changed, or never was sealed. */
  open(sealed: string, purpose: readonly string[]): string | null;
}

const [nonceBytes, tagBytes] = [12, 16];
/** Of this form of what is sealed. */
const form = 1;

/** AES-256-GCM. The purpose is bound as additional data. */
export function createSeal(secret: Uint8Array): Seal {
  const key = Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), 'nexus mcp grants', 32));
  const bound = (purpose: readonly string[]) => Buffer.from(JSON.stringify([form, ...purpose]));
  return {
    seal(text, purpose) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bound(purpose));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([Buffer.from([form]), nonce, cipher.getAuthTag(), body]).toString('base64url');
    },
    open(sealed, purpose) {
      const bytes = Buffer.from(sealed, 'base64url');
      if (bytes[0] !== form || bytes.length < 1 + nonceBytes + tagBytes || bytes.toString('base64url') !== sealed) return null;
      const nonce = bytes.subarray(1, 1 + nonceBytes);
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
        .setAAD(bound(purpose))
        .setAuthTag(bytes.subarray(1 + nonceBytes, 1 + nonceBytes + tagBytes));
      try {
        return Buffer.concat([decipher.update(bytes.subarray(1 + nonceBytes + tagBytes)), decipher.final()]).toString('utf8');
      } catch {
        return null;
      }
    },
  };
}
