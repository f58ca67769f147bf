-- A column goes and comes again under its name: it keeps no value, and NULL has no place in it any more.
create table gh_ost_test (id int not null auto_increment primary key, c int null, d int not null default 2);
insert into gh_ost_test (c) values (null), (3);

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (c) values (null), (4);
  update gh_ost_test set c = null, d = d + 1 where id % 3 = 0;
  delete from gh_ost_test where id % 7 = 5;
end ;;
