-- Inserts, updates of each column, moved keys and deletes, while a column is renamed and another comes.
create table gh_ost_test (
  id int not null auto_increment primary key,
  made timestamp(6) not null default current_timestamp(6),
  amount int null,
  word varchar(200) not null default 'ü',
  n int null
);
insert into gh_ost_test (amount) select seq from seq_1_to_25;

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test values (null, default, null, 'new', 1), (null, default, 7, 'goes', 2);
  set @last = last_insert_id();
  update gh_ost_test set n = if(n is null, 1, null), word = concat(word, '.') where id % 5 = 0;
  update gh_ost_test set id = id + 100000 where id = @last;
  delete from gh_ost_test where id = @last + 1 or id = @last - 15;
end ;;
