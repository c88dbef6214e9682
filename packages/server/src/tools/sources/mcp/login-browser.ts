import { randomInt, timingSafeEqual } from 'node:crypto';
import { sha256 } from '#core';

/** What a browser holds of logins. */
export interface LoginCookies {
  /** The page that was shown; other sites can neither read it nor have it sent. */
  page(value: string): string;
  pageIn(header: string | undefined): string | null;
  /** That a login was begun in this browser; comes along when the authorization server sends it back. */
  login(nonce: string, value: string): string;
  loginIn(header: string | undefined, nonce: string): string | null;
}

/** Behind https no other host of the domain can plant one (`__Host-`). */
export function createLoginCookies(isSecure: boolean, loginMs: number): LoginCookies {
  const pageName = `${isSecure ? '__Host-' : ''}nexus_mcp_page`;
  const loginName = (nonce: string) => `${isSecure ? '__Host-' : ''}nexus_mcp_login_${sha256(nonce).slice(0, 16)}`; // several may be under way
  const made = (name: string, value: string, sameSite: 'Strict' | 'Lax') =>
    `${name}=${value}; Path=/${isSecure ? '; Secure' : ''}; HttpOnly; SameSite=${sameSite}; Max-Age=${Math.ceil(loginMs / 1_000)}`;
  return {
    page: (value) => made(pageName, value, 'Strict'),
    pageIn: (header) => cookieIn(header, pageName),
    login: (nonce, value) => made(loginName(nonce), value, 'Lax'),
    loginIn: (header, nonce) => cookieIn(header, loginName(nonce)),
  };
}

function cookieIn(header: string | undefined, name: string): string | null {
  for (const each of header?.split(';') ?? []) {
    const [key = '', ...value] = each.split('=');
    if (key.trim() === name) return value.join('=').trim();
  }
  return null;
}

/** Neither 0 and O nor 1, I and L are told apart by eye. */
const letters = '23456789ABCDEFGHJKMNPQRSTUVWXYZ';

/** A code that a person types: 39 bits, for one login that lasts for minutes. */
export function makeLoginCode(): string {
  const code = Array.from({ length: 8 }, () => letters[randomInt(letters.length)]).join('');
  return `${code.slice(0, 4)}-${code.slice(4)}`;
}

/** However it was typed. */
export function isLoginCode(typed: string, code: string): boolean {
  const plain = (text: string) => text.toUpperCase().replace(/[^0-9A-Z]/g, '');
  return isSameText(plain(typed), plain(code));
}

export function isSameText(one: string, other: string): boolean {
  return timingSafeEqual(Buffer.from(sha256(one)), Buffer.from(sha256(other)));
}
