-- A moment without a zone becomes one with a zone: which, depends on who writes.
create table gh_ost_test (id int not null auto_increment primary key, d datetime not null);
insert into gh_ost_test (d) values (now());
