-- An event names the column that is renamed: it would fail from the swap on.
create table gh_ost_test (id int not null auto_increment primary key, n int not null);
insert into gh_ost_test (n) values (1);

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (n) values (2);
end ;;
