# @summary One exact certname. No `*`, no `/…/` and no `$1`, which auth.conf would read as a pattern.
type Stagedoor::Certname = Pattern[/\A[a-z0-9]([a-z0-9._-]*[a-z0-9])?\z/]
