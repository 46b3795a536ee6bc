# @summary An absolute path of a Unix machine, without a line end or a quote that would end a string in HOCON.
type Stagedoor::Absolutepath = Pattern[/\A\/[^\n"]*\z/]
