-- A new column called like a word of SQL, and a comment that reads like a clause.
create table gh_ost_test (id int not null auto_increment primary key, `from` varchar(9) not null);
insert into gh_ost_test (`from`) values ('here');

delimiter ;;
create event writes on schedule every 1 second do
begin
  insert into gh_ost_test (`from`) values ('there'), ('away');
  update gh_ost_test set `from` = 'back' where id % 2 = 0;
  delete from gh_ost_test where `from` = 'away';
end ;;
