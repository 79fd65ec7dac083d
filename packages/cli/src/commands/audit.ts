// `sshoal audit`: who visited what, and who changed what. Kept in the store; `events` is what happened in the last hour.
import { option } from '@sshoal/shared'

import { clientOptions } from '../client-options.ts'
import { eventText, type EventFields } from '../event-text.ts'
import { limitOption } from '../record-verbs.ts'
import { Session } from '../session.ts'
import { readMoment } from '../time-text.ts'
import { verb } from '../verb.ts'

export const audit = verb({
  name: 'audit',
  summary: 'show visits and changes, newest first',
  options: {
    user: option.text({ describe: 'only of this person' }),
    target: option.text({ describe: 'only of this target', placeholder: 'NAME' }),
    type: option.text({ describe: 'only of this type, such as visit or grant.created', placeholder: 'TYPE' }),
    since: option.text({
      describe: 'only from then on: a duration ago, such as 2h, or a date',
      placeholder: 'WHEN',
    }),
    until: option.text({
      describe: 'only until then: a duration ago, or a date',
      placeholder: 'WHEN',
    }),
    ...limitOption('entries'),
    ...clientOptions,
  },
  examples: ['sshoal audit --target door-7 --since 7d', 'sshoal audit --user ann --json'],
  async run({ values, context }) {
    const session = new Session(values, context)
    const { user, target, type, limit } = values
    const moment = (text: string | undefined, flag: string): string | undefined =>
      text === undefined ? undefined : readMoment(text, flag, 'ago')
    const query = {
      user,
      target,
      type,
      since: moment(values.since, '--since'),
      until: moment(values.until, '--until'),
    }
    const answer = await session.pages<'entries', EventFields>('/audit', 'entries', query, limit)
    return session.print(answer, ({ entries }) =>
      entries.map((entry) => `${eventText(entry, { date: true })}\n`).join(''),
    )
  },
})
