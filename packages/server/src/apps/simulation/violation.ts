/** What must hold was seen not to. The message begins with the kind of thing, and a colon. */
export class Violation extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'Violation';
  }
}
