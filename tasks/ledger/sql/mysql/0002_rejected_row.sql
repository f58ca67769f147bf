-- Version 2 on MariaDB: which row a rejection is about, as a hash of its key, so that the gate after the swap leaves out
-- that row, and no other. NULL where a trigger of an earlier version noted it. MySQL has no `add column if not exists`.

set @changeover = (select if(count(*), 'do 0', 'alter table changeover_rejections add column row_key binary(32)') from information_schema.columns where table_schema = database() and table_name = 'changeover_rejections' and column_name = 'row_key');
prepare changeover from @changeover;
execute changeover;
