-- A trigger cannot change tables in the moment of the swap.
create table gh_ost_test (id int not null auto_increment primary key, n int not null);
create trigger counts before insert on gh_ost_test for each row set new.n = new.n + 1;
insert into gh_ost_test (n) values (1);
