-- A negative number has no place in a column without a sign.
create table gh_ost_test (id int not null auto_increment primary key, n int not null);
insert into gh_ost_test (n) values (1), (-1);
