-- A foreign key that does something to rows: the event deletes parents.
create table gh_ost_parent (id int not null auto_increment primary key);
create table gh_ost_test (
  id int not null auto_increment primary key, parent int null,
  constraint of_parent foreign key (parent) references gh_ost_parent (id) on delete cascade
) auto_increment=1;
insert into gh_ost_parent values (1), (2), (3);
insert into gh_ost_test values (1, 1), (2, null), (3, 3);
drop event if exists gh_ost_test;
delimiter ;;
create event gh_ost_test on schedule every 1 second starts current_timestamp ends current_timestamp + interval 60 second
on completion not preserve enable do
begin
  insert into gh_ost_parent values (null);
  insert into gh_ost_test values (null, last_insert_id());
  delete from gh_ost_parent where id = 3 or id % 3 = 0;
end ;;
