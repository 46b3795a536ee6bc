# @summary Where an agent finds a file: on the file server, or on its own disk.
type Stagedoor::Source = Pattern[/\Apuppet:\/\/[^\n]+\z/, /\A\/[^\n]+\z/]
