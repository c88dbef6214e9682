import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const places = [process.env.NEXUS_TEST_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** A real browser in which pages can be opened. */
export interface Chromium {
  readonly version: string;
  /** Opens a page as if its address had been typed, and gives the function that closes it. */
  open(url: string): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

/** The program of Chromium, or why there is none. */
export function findChromium(): { readonly path: string } | { readonly reason: string } {
  for (const path of places) {
    if (path === undefined) continue;
    try {
      accessSync(path, constants.X_OK);
      return { path };
    } catch {
      // the next place
    }
  }
  return {
    reason: `no Chromium in ${places.filter(Boolean).join(', ')}: install it (apt-get install chromium) or set NEXUS_TEST_CHROMIUM`,
  };
}

/** Starts Chromium without a window, with a profile of its own, in which every name leads to this machine. */
export async function startChromium(path: string): Promise<Chromium> {
  const profile = mkdtempSync(join(tmpdir(), 'nexus-chromium-'));
  const child = spawn(
    path,
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps'],
      ...['--disable-popup-blocking', '--remote-debugging-port=0', `--user-data-dir=${profile}`],
      '--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE 0.0.0.0',
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env.PATH, HOME: profile, TMPDIR: profile } },
  );
  const stop = async () => {
    await ended(child);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    const control = await addressOf(child);
    const { Browser: version } = (await (await fetch(`${control}/json/version`)).json()) as { Browser: string };
    return {
      version,
      async open(url) {
        const answer = await fetch(`${control}/json/new?${encodeURIComponent(url)}`, { method: 'PUT' });
        const { id } = (await answer.json()) as { id: string };
        return async () => void (await fetch(`${control}/json/close/${id}`).catch(() => undefined));
      },
      close: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function addressOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-20_000);
      const port = /DevTools listening on ws:\/\/127\.0\.0\.1:(\d+)\//.exec(said)?.[1];
      if (port !== undefined) resolve(`http://127.0.0.1:${port}`);
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`Chromium ended with ${code}: ${said}`)));
  });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
    child.once('exit', () => {
      clearTimeout(late);
      resolve();
    });
    child.kill('SIGTERM');
  });
}
