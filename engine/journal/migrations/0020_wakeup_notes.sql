-- What did not become a reason of a wakeup, and why: signals that were refused or merged, cycles that expired.
create table wakeup_notes (
  cycle_id text not null references decision_cycles,
  n smallint not null,         -- 0 is the oldest since the wakeup before
  ts bigint not null,
  code text not null,
  subject text not null,       -- id of a signal or of a cycle
  primary key (cycle_id, n)
);
create index wakeup_notes_subject on wakeup_notes (subject);

alter table signals add column recovers boolean not null default true; -- false: a cross, which no RECOVERED ends
