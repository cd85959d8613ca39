// The language client's life: start, stop, restart after the server ended.

import * as fs from 'node:fs';
import * as os from 'node:os';
import * as vscode from 'vscode';
import type { LanguageClient, LanguageClientOptions, Middleware } from 'vscode-languageclient/node';

import { abilitiesOf, type Abilities } from './abilities.ts';
import { announcement } from './announcement.ts';
import { Backoff } from './backoff.ts';
import { findServer, type Found, type Missing } from './binary.ts';
import { serverSettings, type ServerSettings } from './config.ts';
import { examine, launchOf } from './doctor.ts';
import { FRAME, RELOAD, STATUS, STATUS_CHANGED, UNLOAD, type Frame, type ModelStatus } from './protocol.ts';
import { seenFeature } from './seen.ts';
import { missingText, type ServerState } from './status_text.ts';

/** Documents that the server sees. */
export const SELECTOR: readonly { scheme: string }[] = [{ scheme: 'file' }, { scheme: 'untitled' }];
const STOP_TIMEOUT_MS = 2_000;
type Library = typeof import('./language_client.ts');
const t = vscode.l10n.t;

export class Server implements vscode.Disposable {
  state: ServerState = { kind: 'stopped' };
  /** What the server says of its model; nothing from an older server. */
  model: ModelStatus | undefined;
  private client: LanguageClient | undefined;
  private readonly backoff = new Backoff();
  private timer: NodeJS.Timeout | undefined;
  /** Counts starts and stops: a start that was overtaken while it waited ends there. */
  private n_turns = 0;
  private readonly stateEmitter = new vscode.EventEmitter<ServerState>();
  readonly onDidChangeState = this.stateEmitter.event;
  private readonly frameEmitter = new vscode.EventEmitter<Frame>();
  readonly onFrame = this.frameEmitter.event;

  constructor(
    private readonly extensionFolder: string,
    private readonly middleware: Middleware,
    readonly log: vscode.LogOutputChannel,
  ) {}

  /** The client, once its server answered. */
  get ready(): LanguageClient | undefined {
    return this.state.kind === 'ready' ? this.client : undefined;
  }

  /** What the running server can do; nothing while none runs. */
  get abilities(): Abilities {
    return abilitiesOf(this.ready?.initializeResult?.capabilities);
  }

  /** Takes the model out of memory, or loads it again. */
  async setLoaded(loaded: boolean): Promise<void> {
    const status = await this.ready?.sendRequest<ModelStatus>(loaded ? RELOAD : UNLOAD);
    if (status) this.modelIs(status);
  }

  async start(): Promise<void> {
    if (this.client) return;
    const settings = serverSettings();
    const found = this.find(settings);
    if (found.file === undefined) {
      this.become({ kind: 'missing', setting: found.setting });
      this.log.error(missingText(found.setting, t));
      void this.offerSettings(missingText(found.setting, t));
      return;
    }
    this.log.info(`server: ${found.file} (${found.source})`);
    this.become({ kind: 'starting' });
    const turn = ++this.n_turns;
    const library = await import('./language_client.ts');
    if (turn !== this.n_turns) return;
    const client = this.newClient(library, found.file, settings);
    this.client = client;
    try {
      await client.start();
    } catch (error) {
      this.ended(client, String(error instanceof Error ? error.message : error));
      await dispose(client);
      return;
    }
    if (this.client !== client) return;
    this.become({ kind: 'ready', version: client.initializeResult?.serverInfo?.version ?? '?' });
    if (!this.abilities.status) return;
    const status = await client.sendRequest<ModelStatus>(STATUS).catch(() => undefined);
    if (status && this.client === client) this.modelIs(status);
  }

  /** Stops the server and waits until its process is gone. */
  async stop(): Promise<void> {
    clearTimeout(this.timer);
    this.n_turns += 1;
    const client = this.client;
    this.client = undefined;
    this.become({ kind: 'stopped' });
    await dispose(client);
  }

  async restart(): Promise<void> {
    await this.stop();
    this.backoff.reset();
    await this.start();
  }

  /** What `diffcoder-lsp doctor` says of the program, the model and the settings that the server is started with. */
  async doctor(): Promise<string> {
    const settings = serverSettings();
    const found = this.find(settings);
    if (found.file === undefined) return missingText(found.setting, t);
    return examine(found.file, launchOf(settings), t);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.stateEmitter.dispose();
    this.frameEmitter.dispose();
  }

  private find(settings: ServerSettings): Found | Missing {
    return findServer({
      setting: settings.path,
      extensionFolder: this.extensionFolder,
      platform: process.platform,
      searchPath: process.env['PATH'] ?? '',
      homeFolder: os.homedir(),
      isProgram,
    });
  }

  private newClient(library: Library, command: string, settings: ServerSettings): LanguageClient {
    const { CloseAction, ErrorAction, TransportKind } = library;
    const { args, environment } = launchOf(settings);
    const options: LanguageClientOptions = {
      documentSelector: [...SELECTOR],
      initializationOptions: { trusted: vscode.workspace.isTrusted },
      outputChannel: this.log,
      traceOutputChannel: this.log,
      middleware: this.middleware,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          this.ended(client, t('it ended unexpectedly'));
          return { action: CloseAction.DoNotRestart, handled: true };
        },
      },
      initializationFailedHandler: () => false,
    };
    const server = {
      command,
      args,
      transport: TransportKind.stdio,
      options: { env: { ...process.env, ...environment } },
    };
    const client = new library.LanguageClient('diffcoder', 'diffcoder', { run: server, debug: server }, options);
    client.registerFeatures([announcement, seenFeature(client)]);
    client.onNotification(FRAME, (frame: Frame) => this.frameEmitter.fire(frame));
    client.onNotification(STATUS_CHANGED, (status: ModelStatus) => {
      if (this.client === client) this.modelIs(status);
    });
    return client;
  }

  /** Called once or twice for each client whose server went away without being asked to. */
  private ended(client: LanguageClient, why: string): void {
    if (this.client !== client) return;
    this.client = undefined;
    const verdict = this.backoff.ended(Date.now());
    if (verdict.restart) {
      this.log.warn(`the server ended (${why}); start ${verdict.attempt} follows in ${verdict.delayMs} ms`);
      this.become({ kind: 'restarting', delayMs: verdict.delayMs, attempt: verdict.attempt });
      this.timer = setTimeout(() => void this.start(), verdict.delayMs);
      return;
    }
    this.log.error(`the server ended ${verdict.ends} times within three minutes (${why}); it stays down`);
    this.become({ kind: 'failed', reason: why });
    void this.offerLog(t('The diffcoder server ended {0} times within three minutes and stays down: {1}.', verdict.ends, why));
  }

  private become(state: ServerState): void {
    this.state = state;
    this.model = undefined;
    const can = this.abilities;
    const contexts = { serverReady: state.kind === 'ready', canScore: can.score, canFindHoles: can.holes, canRewrite: can.rewrite === true, canUnload: can.status };
    for (const [name, value] of Object.entries(contexts)) void vscode.commands.executeCommand('setContext', `diffcoder.${name}`, value);
    this.stateEmitter.fire(state);
  }

  private modelIs(status: ModelStatus): void {
    this.model = status;
    this.stateEmitter.fire(this.state);
  }

  private async offerSettings(message: string): Promise<void> {
    const settings = t('Open Settings');
    if ((await vscode.window.showErrorMessage(message, settings)) === settings) {
      await vscode.commands.executeCommand('workbench.action.openSettings', 'diffcoder.server');
    }
  }

  private async offerLog(message: string): Promise<void> {
    const [restart, log] = [t('Restart'), t('Show Log')];
    const choice = await vscode.window.showErrorMessage(message, restart, log);
    if (choice === restart) await this.restart();
    if (choice === log) this.log.show();
  }
}

/** A client that failed to start cannot be stopped; there is nothing left to stop then. */
async function dispose(client: LanguageClient | undefined): Promise<void> {
  try {
    await client?.dispose(STOP_TIMEOUT_MS);
  } catch {
    // Its process is gone or was killed at the time limit.
  }
}

function isProgram(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}
