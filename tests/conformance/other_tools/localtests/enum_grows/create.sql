-- A list of words gets more, before and behind those that it has; NULL becomes possible.
create table gh_ost_test (
  id int not null auto_increment primary key,
  state enum('open', 'done') not null default 'open',
  marks set('a', 'b', 'c') not null default ''
);
insert into gh_ost_test (state, marks) values ('open', 'a,c'), ('done', ''), (default, 'b');

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (state, marks) values ('done', 'a,b,c'), ('open', default);
  update gh_ost_test set state = if(state = 'open', 'done', 'open'), marks = 'c' where id % 4 = 1;
  delete from gh_ost_test where id % 9 = 5;
end ;;
