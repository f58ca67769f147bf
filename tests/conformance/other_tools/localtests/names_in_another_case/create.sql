-- Names are written in another case, which to the server are the same: also for the event that knows them.
create table gh_ost_test (id int not null auto_increment primary key, n int not null default 0);
insert into gh_ost_test (n) values (1), (2);

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (n) values (3);
  update gh_ost_test set n = n + 1 where id % 2 = 0;
end ;;
