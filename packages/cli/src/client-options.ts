// The options that every verb over REST has: where the master is, with which token, how to print.
import { option } from '@sshoal/shared'

export const clientOptions = {
  url: option.url({
    describe: 'where the master is',
    protocols: ['http:', 'https:'],
    fallback: 'http://127.0.0.1:8080',
  }),
  token: option.secret({ describe: "the token to show; unset: the data directory's admin-token" }),
  data: option.pathOr({
    describe: 'data directory of a master on this machine, for its token',
    fallback: './data',
  }),
  project: option.text({
    describe: 'project that is meant, for tokens that span all of them',
    placeholder: 'NAME',
  }),
  json: option.toggle({ describe: "print the master's own JSON, for programs" }),
}

export const confirmOptions = {
  yes: option.toggle({ describe: 'do not ask first' }),
}
