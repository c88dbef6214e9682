#!/usr/bin/env node
/**
 * Starts the `nexus` command.
 *
 * Installed from a registry, it runs the built `dist/`. In the repository it runs the TypeScript source, which needs a resolve condition
 * that only the command line can set: the process then replaces itself (`execve`), so that pid, signals and exit code stay those of one
 * process, and workers and child processes inherit the condition. This file must parse on old Nodes, to be able to say what is wrong.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

const needed = [22, 19];
const condition = '--conditions=nexus-source';
/** Set for a child that runs in the place of this process: the descriptor that ends when this process does. */
const launcherVariable = 'NEXUS_LAUNCHER_FD';
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

const source = path('../src/cli/main.ts');
const fromSource = existsSync(source);

if (!newEnough(process.versions.node)) {
  const brought = fromSource ? broughtNode() : undefined;
  if (brought) become(brought, sourceArguments());
  else refuse();
} else if (fromSource && !process.execArgv.includes(condition)) {
  become(process.execPath, sourceArguments());
} else {
  await run();
}

async function run() {
  endWithLauncher();
  quietExperimentalWarnings();
  nodeModule.enableCompileCache?.();
  const { main } = await import(fromSource ? '../src/cli/main.ts' : '../dist/main.js');
  process.exitCode = await main(process.argv.slice(2));
}

function newEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > needed[0] || (major === needed[0] && minor >= needed[1]);
}

/** The Node that scripts/bootstrap.sh put into the repository. */
function broughtNode() {
  const folder = path('../../../.tools/node/node_modules/');
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('node')) : [];
  return names.map((name) => `${folder}${name}/bin/node`).find((binary) => existsSync(binary));
}

function refuse() {
  const how = fromSource
    ? 'In this repository `make demo`, `make serve` or `sh scripts/bootstrap.sh` brings it (npm is enough).'
    : 'Install it from https://nodejs.org, or run `npx -p node@24 nexus …`.';
  process.stderr.write(`nexus needs Node ${needed.join('.')} or newer; this is ${process.versions.node}.\n${how}\n`);
  process.exitCode = 1;
}

function sourceArguments() {
  return [condition, ...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
}

/** Replaces this process; where the platform cannot, runs a child and passes signals and its end on. */
function become(binary, args) {
  if (typeof process.execve === 'function' && process.platform !== 'win32') {
    quietExperimentalWarnings();
    process.execve(binary, [binary, ...args], process.env);
  }
  const stdio = ['inherit', 'inherit', 'inherit', 'pipe'];
  const child = spawn(binary, args, { stdio, env: { ...process.env, [launcherVariable]: '3' } });
  child.stdio[3]?.on('error', () => undefined); // the child has ended, which is heard below
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  const forward = (signal) => child.kill(signal);
  for (const signal of signals) process.on(signal, forward);
  child.on('error', (error) => {
    process.stderr.write(`nexus could not start ${binary}: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    for (const name of signals) process.off(name, forward);
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = code ?? 1;
  });
}

/** One that was started by another process in its place ends as told by SIGTERM when that one is gone, however it went. */
function endWithLauncher() {
  const descriptor = Number(process.env[launcherVariable]);
  delete process.env[launcherVariable]; // children of this process are started by nobody else
  if (!Number.isInteger(descriptor) || descriptor < 3) return;
  try {
    const launcher = new Socket({ fd: descriptor, readable: true, writable: false });
    launcher.on('error', () => undefined);
    launcher.on('close', () => process.kill(process.pid, 'SIGTERM'));
    launcher.resume().unref();
  } catch {
    // Whoever set the variable by hand has no such descriptor: there is no process to follow.
  }
}

/** `node:sqlite` and type stripping are used on purpose: their notices of being experimental say nothing to an operator. */
function quietExperimentalWarnings() {
  const emitWarning = process.emitWarning.bind(process);
  process.emitWarning = (warning, ...rest) => {
    const type = typeof rest[0] === 'string' ? rest[0] : rest[0]?.type;
    if (type !== 'ExperimentalWarning') emitWarning(warning, ...rest);
  };
}
